"""Streaming first and second moments of a regression, in constant memory.

Products are taken in single precision, chunk by chunk, and summed in double precision.  Everything
is shifted by a point near the mean first, so that nothing is lost where a feature hardly varies.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onnxslim_snacs.arithmetic.current import arithmetic

FloatArray = NDArray[np.float64]
Rows = NDArray[np.float32]


@dataclass(slots=True)
class Sums:
    """Sums over rows of features x and targets t, both shifted; one block for each group.

    Attributes:
        shift_x: (g, d) what is taken off the features.
        shift_t: (g, o) what is taken off the targets.
        rows: how many rows.
        x: (g, d) sum of x.
        t: (g, o) sum of t.
        xx: (g, d, d) sum of x x^T.
        xt: (g, d, o) sum of x t^T.
        tt: (g, o) sum of t^2.
    """

    shift_x: Rows
    shift_t: Rows
    rows: int
    x: FloatArray
    t: FloatArray
    xx: FloatArray
    xt: FloatArray
    tt: FloatArray


@dataclass(frozen=True, slots=True)
class Moments:
    """Means and covariances.

    Attributes:
        rows: how many rows they come from.
        mean_x: (g, d).
        mean_t: (g, o).
        xx: (g, d, d) covariance of the features.
        xt: (g, d, o) covariance of features and targets.
        tt: (g, o) variance of each target.
    """

    rows: int
    mean_x: FloatArray
    mean_t: FloatArray
    xx: FloatArray
    xt: FloatArray
    tt: FloatArray


def empty_sums(x: Rows, t: Rows) -> Sums:
    """Nothing yet; the shifts are the means of a first chunk (g, rows, d) and (g, rows, o)."""
    groups, _, features = x.shape
    outputs = t.shape[2]
    return Sums(
        shift_x=x.mean(axis=1, dtype=np.float64).astype(np.float32),
        shift_t=t.mean(axis=1, dtype=np.float64).astype(np.float32),
        rows=0,
        x=np.zeros((groups, features)),
        t=np.zeros((groups, outputs)),
        xx=np.zeros((groups, features, features)),
        xt=np.zeros((groups, features, outputs)),
        tt=np.zeros((groups, outputs)),
    )


def add_rows(sums: Sums, x: Rows, t: Rows) -> None:
    """Take in rows.

    Args:
        sums: changed in place.
        x: (g, rows, d) features.
        t: (g, rows, o) targets.
    """
    x = x - sums.shift_x[:, None]
    t = t - sums.shift_t[:, None]
    sums.rows += x.shape[1]
    more = arithmetic().row_sums(x, t)
    sums.x += more.x
    sums.t += more.t
    sums.xx += more.xx
    sums.xt += more.xt
    sums.tt += more.tt


def moments(sums: Sums) -> Moments:
    """Means and covariances of the rows seen so far, of which there has to be one."""
    n = sums.rows
    x, t = sums.x / n, sums.t / n
    xx, xt = _about_means(sums.xx, x, x, n), _about_means(sums.xt, x, t, n)
    return Moments(
        rows=n,
        mean_x=x + sums.shift_x,
        mean_t=t + sums.shift_t,
        xx=xx,
        xt=xt,
        tt=np.maximum(sums.tt / n - t**2, 0.0),
    )


def _about_means(products: FloatArray, a: FloatArray, b: FloatArray, rows: int) -> FloatArray:
    """(g, d, o) products / rows - a b^T; touched in place, for it is as large as anything here."""
    found = a[:, :, None] * (-rows * b)[:, None, :]
    found += products
    found /= rows
    return found
