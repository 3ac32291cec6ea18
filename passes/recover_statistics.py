"""Statistics correction: mean and variance of every output channel (methods 5.6; REPAIR)."""

from onnxslim_snacs.passes.recover import Cut, Method, Recovered, recover
from onnxslim_snacs.readers.moments import moments
from onnxslim_snacs.recovery.regression import Regression, sums_of
from onnxslim_snacs.recovery.solve import Affine, with_mean, with_statistics


def recover_statistics(cut: Cut) -> Recovered:
    """Scale and shift the outputs of every layer whose input the cut has changed."""
    return recover(cut, Method(_fit, wide=False, sums=False))


def _fit(rows: Regression, now: Affine) -> Affine:
    seen, judged = moments(sums_of(rows.fitted)), rows.held
    tried = (with_statistics(seen, now.weight), with_mean(seen, now.weight))
    return min(tried, key=judged.error)
