"""Values that go in and out of runs: tensors, and sequences of them, which are lists."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: An extent in which the tensors of one sequence differ.
RAGGED = -1


def each(change: Callable[[NDArray[Any]], NDArray[Any]], value: Any) -> Any:
    """A tensor changed, or every tensor of a sequence."""
    return [change(item) for item in value] if isinstance(value, list) else change(value)


def shape_of(value: Any) -> tuple[int, ...] | None:
    """The shape of a tensor, or of every tensor of a sequence.

    Returns:
        The extents; RAGGED where the tensors of a sequence differ, None where it has none or they
        have no number of dimensions in common.
    """
    if not isinstance(value, list):
        whole: tuple[int, ...] = np.shape(value)
        return whole
    shapes = {np.shape(item) for item in value}
    if len({len(shape) for shape in shapes}) != 1:
        return None
    return tuple(d[0] if len(set(d)) == 1 else RAGGED for d in zip(*shapes, strict=True))
