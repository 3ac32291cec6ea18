"""Sixteen samples for any model: the child process that makes them.

    python benchmarks/main_command/samples.py MODEL OUT.npz [SHAPES_JSON [SAMPLE_AXES_JSON]]

They are seeded, of the sizes at which the model runs; values of integer inputs are zeros and ones,
which are valid indices of almost anything.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from onnxslim_snacs.activations.sources import open_source
from onnxslim_snacs.config import DataConfig
from onnxslim_snacs.model.load import load_model

SAMPLES = 16


def main() -> None:
    path, out = Path(sys.argv[1]), Path(sys.argv[2])
    shapes, axes = (json.loads(text) for text in (*sys.argv[3:], "{}", "{}")[:2])
    sizes = {name: tuple(shape) for name, shape in shapes.items()}
    data = DataConfig(samples=SAMPLES, input_shapes=sizes, sample_axes=axes)
    table = open_source(data, load_model(path), seed=1).table
    block = next(iter(table.blocks(np.arange(SAMPLES), SAMPLES)))
    texts = {name: v.astype(str) for name, v in block.items() if v.dtype.hasobject}
    np.savez(out, **{**block, **texts})


if __name__ == "__main__":
    main()
