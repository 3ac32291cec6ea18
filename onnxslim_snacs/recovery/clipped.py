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

from onnxslim_snacs.arithmetic.current import arithmetic
from onnxslim_snacs.arithmetic.kernels import Fit, FlatAim, Solver
from onnxslim_snacs.layers.moments import Moments
from onnxslim_snacs.recovery.regression import Regression
from onnxslim_snacs.recovery.solve import Affine

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
    weight, bias = arithmetic().refined(
        regression.x[0],
        moments.mean_x[0],
        _aim(regression),
        Fit(start.weight[0], start.bias[0]),
        solve,
        steps,
    )
    if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
        return start
    return Affine(weight[None], bias[None])


def _aim(regression: Regression) -> FlatAim:
    base, t = regression.base[0], regression.t[0]
    low, high = regression.low - base, regression.high - base
    below = t <= low if regression.low > -np.inf else None
    above = t >= high if regression.high < np.inf else None
    return FlatAim(np.clip(t, low, high), low, high, below, above)
