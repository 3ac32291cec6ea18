"""How much of what a model answers is rounding: the same run again, moved by almost nothing.

Every input and every weight goes up or down by a unit in the last place.  What that makes of an
answer is what the next machine, the next library or another order of the sums may make of it, too:
no more can be asked of two models that compute the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, numpy_helper

from onnxslim_snacs.model.mapped import tensor_array
from onnxslim_snacs.model.tensors import stored_bytes
from onnxslim_snacs.model.values import each

#: A difference of so many times the noise is no noise any more.
FACTOR = 8.0
#: Weights up to so many bytes are moved; of larger models the inputs alone.
MAX_BYTES = 1 << 30
_FLOATING = frozenset((TensorProto.FLOAT, TensorProto.DOUBLE))


def nudged(model: ModelProto, seed: int, base_dir: Path | None = None) -> ModelProto:
    """A copy of a model whose weights have moved by a unit in the last place.

    Vectors and scalars stay: among them are the scales of a Resize and the bounds of a Range, which
    stand for whole numbers.

    Args:
        model: the model.
        seed: decides which weights go up and which down.
        base_dir: the folder of its external data.
    """
    rng = np.random.default_rng(seed)
    moved = ModelProto()
    moved.CopyFrom(model)
    weights = [t for t in moved.graph.initializer if t.data_type in _FLOATING and len(t.dims) > 1]
    if sum(map(stored_bytes, weights)) > MAX_BYTES:
        return moved
    for tensor in weights:
        array = tensor_array(tensor, base_dir)
        tensor.CopyFrom(numpy_helper.from_array(nudge(array, rng), tensor.name))
    return moved


def nudged_feeds(feeds: Mapping[str, NDArray[Any]], seed: int) -> dict[str, NDArray[Any]]:
    """Inputs that have moved by a unit in the last place; whole numbers stay."""
    rng = np.random.default_rng(seed)
    return {name: each(lambda one: nudge(one, rng), value) for name, value in feeds.items()}


def nudge(array: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
    """Every number but zero moved to one of its two neighbours, drawn anew for each; same shape."""
    if array.dtype.kind != "f":
        return array
    up = rng.integers(0, 2, size=array.shape, dtype=np.int8).astype(bool)
    towards = np.where(up, np.inf, -np.inf).astype(array.dtype)
    moved = np.nextafter(array, towards)
    return np.where((array == 0) | ~np.isfinite(array), array, moved)
