"""Bias correction: the mean of every output channel as the target's (methods 5.6)."""

from onnxslim_snacs.passes.recover import Cut, Method, Recovered, recover
from onnxslim_snacs.readers.moments import moments
from onnxslim_snacs.recovery.regression import Regression, sums_of
from onnxslim_snacs.recovery.solve import Affine, with_mean


def recover_bias(cut: Cut) -> Recovered:
    """Correct the bias of every layer whose input the cut has changed."""
    return recover(cut, Method(_fit, wide=False, sums=True))


def _fit(rows: Regression, now: Affine) -> Affine:
    return with_mean(moments(sums_of(rows.fitted)), now.weight)
