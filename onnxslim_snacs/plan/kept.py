"""What a decision is made from and what it says, for every group."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from onnxslim_snacs.ir.types import BoolArray

Scores = Mapping[str, NDArray[np.float64]]


Kept = dict[str, BoolArray]
