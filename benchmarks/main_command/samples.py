"""Sixteen samples for any model.

They are seeded, of the sizes at which the model runs; values of integer inputs are zeros and ones,
which are valid indices of almost anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from onnxslim_snacs.activations.open_data import open_source
from onnxslim_snacs.config import DataConfig
from onnxslim_snacs.model.load import load_model

SAMPLES = 16


def write_samples(
    path: Path, out: Path, shapes: Mapping[str, Sequence[int]], axes: Mapping[str, int]
) -> None:
    """Write samples for a model.

    Args:
        path: the model.
        out: the .npz file.
        shapes: sizes of inputs that cannot be guessed.
        axes: input -> its sample axis, where that is not the first.
    """
    sizes = {name: tuple(shape) for name, shape in shapes.items()}
    data = DataConfig(samples=SAMPLES, input_shapes=sizes, sample_axes=axes)
    table = open_source(data, load_model(path), seed=1).table
    block: dict[str, Any] = dict(next(iter(table.blocks(np.arange(SAMPLES), SAMPLES))))
    texts = {name: v.astype(str) for name, v in block.items() if v.dtype.hasobject}
    np.savez(out, **{**block, **texts})
