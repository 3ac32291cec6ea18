"""Which units contribute so much to the succeeding layer that they stay (method 3.7).

The record conflicts with itself: the released script protects the smallest sums of signed scaled
weights, an older one the largest.  The default here works on magnitudes and protects the largest;
how many is our own choice, since the released shares are unknown.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

BoolArray: TypeAlias = npt.NDArray[np.bool_]


def sensitivity(weights_abs: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Give the mean share that each unit has in what the next layer's outputs read.

    Args:
        weights_abs: scaled magnitudes of the next layer's weights, axes (output, unit).

    Returns:
        s with axis (unit); sums to 1 where any weight is not 0 (each row counts alike, empty rows
        do not count), so 1 / units is the neutral value.
    """
    weights = np.asarray(weights_abs, dtype=np.float64)
    sums = weights.sum(axis=1)
    rows = weights[sums > 0] / sums[sums > 0, None]
    if not len(rows):
        return np.zeros(weights.shape[1])
    shares: npt.NDArray[np.float64] = rows.mean(axis=0)
    return shares


def protected_share(scores: npt.NDArray[np.float64], share: float) -> BoolArray:
    """Protect a fixed share of the units, the most sensitive first.

    Args:
        scores: sensitivity, axis (unit).
        share: share of the units, 0 to 1, rounded to the nearest count; ties go to lower indices.

    Returns:
        Mask, axis (unit).
    """
    return _first(np.argsort(-scores, kind="stable"), share)


def legacy_lowest_signed(weights_scaled: npt.ArrayLike, share: float) -> BoolArray:
    """Protect as the released script does: the *smallest* sums of signed scaled weights.

    Args:
        weights_scaled: next layer's weights as of `scale_weights_signed`, axes (output, unit).
        share: share of the units, 0 to 1.

    Returns:
        Mask, axis (unit).
    """
    return _first(np.argsort(sensitivity(weights_scaled), kind="stable"), share)


def _first(order: npt.NDArray[np.intp], share: float) -> BoolArray:
    """Mark the first share of an order."""
    mask = np.zeros(len(order), dtype=np.bool_)
    mask[order[: round(share * len(order))]] = True
    return mask
