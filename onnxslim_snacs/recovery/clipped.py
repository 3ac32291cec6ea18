"""Least squares behind an activation that is flat on one side or two (Relu, Clip).

Where the original lies in the flat part, anything else in the flat part is as good.  The squared
error with that freedom, |t - v|^2 inside and |v - flat part|^2 for targets outside, is convex in
v, is never below the error behind the activation, and never above the plain squared error.  It is
minimised by majorisation: least squares against t inside, and against the nearest point of the flat
part outside (cf. the auxiliary variables of Zhang et al. 2015, "Accelerating very deep
convolutional networks", section 3.2).  The Gram matrix stays the same in all steps.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from onnxslim_snacs.ir.types import BoolArray
from onnxslim_snacs.layers.moments import Moments, Rows
from onnxslim_snacs.recovery.regression import Regression
from onnxslim_snacs.recovery.solve import Affine, Solver

#: Steps; with Nesterov's momentum more of them change little.
STEPS = 10


def refine(
    regression: Regression, moments: Moments, start: Affine, solve: Solver, steps: int = STEPS
) -> Affine:
    """Improve a least-squares solution for what lies behind the activation.

    Args:
        regression: the rows, one group.
        moments: their moments.
        start: the solution to begin with.
        solve: of the damped equations of a step.
        steps: how many.
    """
    x, mean, aim = regression.x[0], moments.mean_x[0], _aim(regression)
    weight = before = start.weight[0]
    bias = bias_before = start.bias[0]
    pace = 1.0
    for _ in range(steps):
        faster = (1 + (1 + 4 * pace * pace) ** 0.5) / 2
        momentum, pace = (pace - 1) / faster, faster
        at, bias_at = weight + momentum * (weight - before), bias + momentum * (bias - bias_before)
        v = x @ at.astype(np.float32)
        v += bias_at.astype(np.float32)
        missing = aim.missing(v)
        rise = missing.mean(axis=0, dtype=np.float64)
        product = (x.T @ missing).astype(np.float64) / len(x) - np.outer(mean, rise)
        step = solve(product[None])[0]
        before, bias_before = weight, bias
        weight, bias = at + step, bias_at + rise - mean @ step
    if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
        return start
    return Affine(weight[None], bias[None])


@dataclass(frozen=True, slots=True)
class _Aim:
    """What the outputs have to come to.

    Attributes:
        t: (n, o) the targets, those in a flat part moved to its edge.
        low: (n or 1, o) the edge of the lower flat part.
        high: (n or 1, o) that of the upper one.
        below: (n, o) whether the target lies in the lower one; None without one.
        above: (n, o) likewise.
    """

    t: Rows
    low: Rows
    high: Rows
    below: BoolArray | None
    above: BoolArray | None

    def missing(self, v: Rows) -> Rows:
        """(n, o) what v lacks to the nearest value that is as good as the target.

        Args:
            v: (n, o), which is overwritten.
        """
        if self.below is not None:
            np.maximum(v, self.low, out=v, where=self.below)
        if self.above is not None:
            np.minimum(v, self.high, out=v, where=self.above)
        return np.subtract(self.t, v, out=v)


def _aim(regression: Regression) -> _Aim:
    base, t = regression.base[0], regression.t[0]
    low, high = regression.low - base, regression.high - base
    below = t <= low if regression.low > -np.inf else None
    above = t >= high if regression.high < np.inf else None
    return _Aim(np.clip(t, low, high), low, high, below, above)
