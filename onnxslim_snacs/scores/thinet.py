"""ThiNet: channels whose sum the next layer misses least, chosen one after the other (method 7.3).

Luo, Wu, Lin 2017: greedily make the set R of those that go such that the squared sum of what they
add to the next layer's outputs stays least.  With M the second moments of these contributions that
is 1_R' M 1_R, and no samples are needed any more.  A unit's score is its place in that order: the
rise at each step is no measure of a unit, for two that cancel cost nothing together.
"""

from __future__ import annotations

import numpy as np

from onnxslim_snacs.layers.consumers import Readers, readers_of
from onnxslim_snacs.layers.moments import FloatArray
from onnxslim_snacs.scores.criterion import Criterion, ScoreContext, ScoreResult
from onnxslim_snacs.scores.fallback import completed
from onnxslim_snacs.scores.of_readers import MOMENTS, NO_READERS, contributions
from onnxslim_snacs.scores.refit import moments_for


def score(context: ScoreContext, moments: str = "second") -> ScoreResult:
    """Place of each unit in the order in which ThiNet lets them go."""
    consumers = moments_for(context)
    found = {}
    for group in context.analysis.ir.groups:
        readers = readers_of(group, consumers)
        if readers:
            found[group.id] = removal_order(joint_contributions(readers, moments))
    return completed(context, found, NO_READERS)


def joint_contributions(readers: Readers, moments: str) -> FloatArray:
    """(units, units) M summed over the layers, each relative to how much its output varies."""
    several = (contributions(c, index, moments) / c.variance for c, index in readers)
    return np.asarray(sum(several), dtype=np.float64)


def removal_order(matrix: FloatArray) -> FloatArray:
    """(units,) 0 for the first that goes.

    Args:
        matrix: (units, units) M.
    """
    units = len(matrix)
    rises = np.diag(matrix).copy()  # of 1_R' M 1_R as each unit joins R
    place = np.empty(units)
    for step in range(units):
        going = int(np.argmin(rises))
        place[going] = step
        rises += 2.0 * matrix[going]
        rises[going] = np.inf
    return place


THINET = Criterion(
    "thinet",
    "order in which units go so that the layers that read them miss least (Luo et al. 2017)",
    score,
    needs=("weights", "activations"),
    options=(MOMENTS,),
)
