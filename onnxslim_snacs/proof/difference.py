"""How far two models' outputs are apart, as the proof measures it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Share of integers that may differ by one: a pixel on the brink rounds up here and down there.
ROUNDED = 1e-4

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Found:
    """How far two sides are apart.

    Attributes:
        tensor: where, "" for the largest of several.
        difference: max|difference| / max|value| between the two sides.
        noise: the same between the original and itself, moved by almost nothing.
        allowed: up to what the difference is rounding.
    """

    tensor: str
    difference: float
    noise: float
    allowed: float

    @property
    def excess(self) -> float:
        """The difference as a share of what is allowed."""
        return self.difference / self.allowed


def worst_difference(
    wanted: Sequence[Array], got: Sequence[Array], least_size: float = 0.0
) -> float:
    """The largest relative difference of one tensor over several input sets.

    A sum whose terms happen to cancel on one set is held against its size on the others: its
    rounding errors are those of its terms, however small the sum.

    Args:
        wanted: the tensor for each input set.
        got: the same of the other model.
        least_size: the tensor is held against no less than that.
    """
    scale = max((_size(values) for values in wanted), default=0.0)
    scale = max(scale, least_size)
    pairs = zip(wanted, got, strict=True)
    return max((relative_difference(a, b, scale) for a, b in pairs), default=0.0)


def relative_difference(wanted: Array, got: Array, scale: float | None = None) -> float:
    """max|difference| / max|output|; inf where shapes, types or non-finite places differ.

    Integers have to be equal, but that a sum in another order may round the other way.

    Args:
        wanted: values.
        got: values.
        scale: max|output|, if it is not that of `wanted` alone.
    """
    if wanted.shape != got.shape or wanted.dtype != got.dtype:
        return float("inf")
    if wanted.dtype.kind not in "fc":
        return 0.0 if np.array_equal(wanted, got) or _rounded(wanted, got) else float("inf")
    a, b = wanted.astype(np.float64), got.astype(np.float64)
    finite = np.isfinite(a)
    same = np.array_equal(a[~finite], b[~finite], equal_nan=True)
    if not same or not np.array_equal(finite, np.isfinite(b)):
        return float("inf")
    if not finite.any():
        return 0.0
    size = _size(wanted) if scale is None else scale
    return float(np.abs(a[finite] - b[finite]).max()) / (size or 1.0)


def _size(values: Array) -> float:
    """The largest finite magnitude; 0 of what is not floating."""
    if values.dtype.kind not in "fc":
        return 0.0
    magnitudes = np.abs(values.astype(np.float64))
    return float(magnitudes.max(initial=0.0, where=np.isfinite(magnitudes)))


def _rounded(wanted: NDArray[Any], got: NDArray[Any]) -> bool:
    if wanted.dtype.kind not in "iu":
        return False
    apart = wanted != got
    far = np.abs(wanted[apart].astype(np.float64) - got[apart].astype(np.float64)) > 1
    return bool(apart.mean() <= ROUNDED and not far.any())
