"""Statistics correction: mean and variance of every output channel (methods 5.6; REPAIR)."""

from onnxslim_snacs.passes.recover import Cut, Method, Recovered, recover
from onnxslim_snacs.recovery.solve import with_statistics

STATISTICS = Method("stats", scalings=(with_statistics,), sums=False)


def recover_statistics(cut: Cut) -> Recovered:
    """Scale and shift the outputs of every layer whose input the cut has changed."""
    return recover(cut, STATISTICS)
