"""The regression of one layer, in the units of the tensor at which it aims.

A layer's output y reaches a tensor z = scale * y + shift, or a sum z + other.  With v = scale * y
and base = shift + other, the layer should make v + base equal to what the original has there.
Where an activation that is flat outside of low ... high follows, only what it lets through counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import inf

import numpy as np

from onnxslim_snacs.ir.types import IntArray
from onnxslim_snacs.layers.moments import Rows, Sums, add_rows, empty_sums
from onnxslim_snacs.recovery.solve import Affine

_STEP = 1 << 13


@dataclass(frozen=True)
class Regression:
    """Rows of a regression; one block for each group of a grouped layer.

    Attributes:
        x: (g, n, d) features.
        t: (g, n, o) targets for v.
        base: (g, n or 1, o) what is added to v.
        fit: how many rows, the first ones, are fitted to; the others judge.
        low: below it the activation that follows is flat.
        high: above it.
    """

    x: Rows
    t: Rows
    base: Rows
    fit: int
    low: float = -inf
    high: float = inf

    @property
    def clips(self) -> bool:
        """Whether an activation follows that is flat somewhere."""
        return self.low > -inf or self.high < inf

    @property
    def fitted(self) -> Regression:
        """The rows to fit to."""
        return self._part(slice(None, self.fit))

    @property
    def held(self) -> Regression:
        """The rows to judge by."""
        return self._part(slice(self.fit, None))

    def _part(self, rows: slice) -> Regression:
        x, t, base = self.x[:, rows], self.t[:, rows], self.base
        base = base if base.shape[1] == 1 else base[:, rows]
        return Regression(x, t, base, x.shape[1], self.low, self.high)

    def of_outputs(self, outputs: IntArray) -> Regression:
        """The regression of some outputs alone."""
        t, base = self.t[:, :, outputs], self.base[:, :, outputs]
        return Regression(self.x, t, base, self.fit, self.low, self.high)

    def error(self, fit: Affine) -> float:
        """Mean squared error behind the activation, relative to the variance of the target there.

        Args:
            fit: x -> v.
        """
        weight, bias = fit.weight.astype(np.float32), fit.bias.astype(np.float32)
        total = 0.0
        for start in range(0, self.x.shape[1], _STEP):
            rows = slice(start, start + _STEP)
            left = self.x[:, rows] @ weight
            left += bias[:, None]
            left = self._passed(left, rows)
            left -= self.wanted[:, rows]
            total += float(np.square(left, out=left).sum(dtype=np.float64))
        relative: float = total / self.x.shape[1] / self.variance
        return relative

    @cached_property
    def wanted(self) -> Rows:
        """(g, n, o) what the activation lets through of the targets."""
        return self._passed(self.t, slice(None))

    @cached_property
    def variance(self) -> float:
        """That of what is wanted, summed over the outputs; 1 where it does not vary."""
        return float(self.wanted.var(axis=1, dtype=np.float64).sum()) or 1.0

    def _passed(self, v: Rows, rows: slice) -> Rows:
        """What the activation lets through of v + base; v itself if there is none."""
        if not self.clips:
            return v
        base = self.base if self.base.shape[1] == 1 else self.base[:, rows]
        clipped: Rows = np.clip(v, self.low - base, self.high - base)
        return clipped + base


def mirrored(rows: Regression) -> Regression:
    """The rows and the same with the other sign: whatever is fitted to both has no bias."""

    def both(a: Rows) -> Rows:
        first, last = a[:, : rows.fit], a[:, rows.fit :]
        return np.concatenate([first, -first, last, -last], axis=1)

    return Regression(both(rows.x), both(rows.t), np.zeros_like(rows.t[:, :1]), 2 * rows.fit)


def narrowed(regression: Regression, now: Affine) -> Regression:
    """The same targets seen from each output by itself: what `now` makes of the features.

    Returns:
        A regression with one block and one feature for each output.
    """
    seen = regression.x @ now.weight.astype(np.float32) + now.bias.astype(np.float32)[:, None]

    def apart(rows: Rows) -> Rows:
        return rows.transpose(0, 2, 1).reshape(-1, rows.shape[1], 1)

    return Regression(
        apart(seen),
        apart(regression.t),
        apart(regression.base),
        regression.fit,
        regression.low,
        regression.high,
    )


def sums_of(regression: Regression) -> Sums:
    """Sums over all rows."""
    x, t = regression.x, regression.t
    sums = empty_sums(x[:, :_STEP], t[:, :_STEP])
    for start in range(0, x.shape[1], _STEP):
        add_rows(sums, x[:, start : start + _STEP], t[:, start : start + _STEP])
    return sums
