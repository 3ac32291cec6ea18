"""Bias correction: the mean of every output channel as the target's (methods 5.6)."""

from onnxslim_snacs.passes.recover import Cut, Method, Recovered, recover
from onnxslim_snacs.recovery.solve import with_mean

BIAS = Method("bias", scalings=(with_mean,))


def recover_bias(cut: Cut) -> Recovered:
    """Correct the bias of every layer whose input the cut has changed."""
    return recover(cut, BIAS)
