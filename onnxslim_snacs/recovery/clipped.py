"""Least squares behind an activation that is flat on one side or two (Relu, Clip).

Where the original lies in the flat part, anything else in the flat part is as good.  The squared
error with that freedom, |t - v|^2 inside and |v - flat part|^2 for targets outside, is convex in
v, is never below the error behind the activation, and never above the plain squared error.  It is
minimised by majorisation: least squares against t inside, and against the nearest point of the flat
part outside (cf. the auxiliary variables of Zhang et al. 2015, "Accelerating very deep
convolutional networks", section 3.2).  The Gram matrix stays the same in all steps.
"""

from __future__ import annotations

import numpy as np

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
    x, mean = regression.x[0], moments.mean_x[0]
    weight = before = start.weight[0]
    bias = bias_before = start.bias[0]
    pace = 1.0
    for _ in range(steps):
        faster = (1 + (1 + 4 * pace * pace) ** 0.5) / 2
        momentum, pace = (pace - 1) / faster, faster
        at, bias_at = weight + momentum * (weight - before), bias + momentum * (bias - bias_before)
        missing = _missing(regression, x @ at.astype(np.float32) + bias_at.astype(np.float32))
        rise = missing.mean(axis=0, dtype=np.float64)
        product = (x.T @ missing).astype(np.float64) / len(x) - np.outer(mean, rise)
        step = solve(product[None])[0]
        before, bias_before = weight, bias
        weight, bias = at + step, bias_at + rise - mean @ step
    if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
        return start
    return Affine(weight[None], bias[None])


def _missing(regression: Regression, v: Rows) -> Rows:
    """(n, o) what v lacks to the nearest value that is as good as the target."""
    base, t = regression.base[0], regression.t[0]
    missing: Rows = t - v
    low, high = regression.low - base, regression.high - base
    if regression.low > -np.inf:
        np.copyto(missing, np.minimum(low - v, 0), where=t <= low)
    if regression.high < np.inf:
        np.copyto(missing, np.maximum(high - v, 0), where=t >= high)
    return missing
