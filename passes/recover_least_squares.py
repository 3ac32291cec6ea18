"""Least squares: every consumer's weights and bias anew, in closed form (methods 5.2, 5.7)."""

from functools import partial

from onnxslim_snacs.passes.recover import Cut, Method, Recovered, recover
from onnxslim_snacs.recovery.solve import RIDGES, least_squares, with_mean, with_scale

LEAST_SQUARES = Method(
    "least-squares",
    maps=tuple(partial(least_squares, ridge=ridge) for ridge in RIDGES),
    scalings=(with_scale, with_mean),
)


def recover_least_squares(cut: Cut) -> Recovered:
    """Re-fit every layer whose input the cut has changed."""
    return recover(cut, LEAST_SQUARES)
