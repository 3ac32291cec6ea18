"""FPGM: filters near the geometric median of their layer go first (method 7.1).

He, Liu, Wang, Hu, Yang 2019: the score of a filter is the sum of its Euclidean distances to all
filters of the layer, for one that lies in the middle can be replaced by the others.  A filter that
two others repeat goes before a small one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxslim_snacs.ir.types import IntArray
from onnxslim_snacs.layers.moments import FloatArray
from onnxslim_snacs.scores.criterion import Criterion, ScoreContext, ScoreResult
from onnxslim_snacs.scores.magnitude import of_producers
from onnxslim_snacs.scores.parts import NORMALISE, REDUCE


def score(context: ScoreContext, reduce: str = "mean", normalise: str = "mean") -> ScoreResult:
    """Sum of distances to the other units' filters."""
    return ScoreResult(of_producers(context.analysis, _distances, reduce, normalise))


def _distances(weight: NDArray[Any], dim: int, index: IntArray) -> FloatArray:
    """(units,) sums of the distances between the filters of all units, each one long vector."""
    filters = np.moveaxis(weight, dim, 0).astype(np.float64)
    rows = filters.reshape(len(filters), -1)[index].reshape(len(index), -1)
    rows = rows - rows.mean(axis=0)  # nothing is lost in the products where all lie close
    squares = np.square(rows).sum(axis=1)
    between = np.maximum(squares[:, None] + squares - 2.0 * (rows @ rows.T), 0.0)
    np.fill_diagonal(between, 0.0)
    found: FloatArray = np.sqrt(between).sum(axis=1)
    return found


FPGM = Criterion(
    "fpgm",
    "distance of a unit's filters from all others: the geometric median goes (He et al. 2019)",
    score,
    needs_data=False,
    needs=("weights",),
    options=(REDUCE, NORMALISE),
)
