"""Logit-Fisher (method 6.2): how much a gate on a unit moves the answers, without labels.

With z = v'J the gradient of randomly signed answers for the gate (`unit_gates`, `losses`),
the score of a unit is the mean of z^2 over samples and signs: the diagonal of the Gauss-Newton
matrix of the squared error of the answers, which is to second order what taking the unit away
alone costs.  Scores of different groups compare.
"""

from __future__ import annotations

import numpy as np

from onnxslim_snacs.scores.criterion import Criterion, ScoreContext, ScoreResult
from onnxslim_snacs.scores.fallback import completed
from onnxslim_snacs.scores.losses import DRAWS, Signs
from onnxslim_snacs.scores.parts import NORMALISE
from onnxslim_snacs.scores.unit_gates import REDUCE_GATES, mean_over_samples

#: Signs for each sample: more of them matter less than more samples.
SIGNS = 2


def fisher(
    context: ScoreContext, draws: int = SIGNS, reduce: str = "gate", normalise: str = "none"
) -> ScoreResult:
    """Mean squared gradient of randomly signed answers for each unit's gate."""
    signs = Signs(context.seed, draws)
    scores = mean_over_samples(context, signs, np.square, reduce=reduce, normalise=normalise)
    return completed(context, scores)


FISHER = Criterion(
    "fisher",
    "squared gradient of the answers for a gate on each unit, random signs instead of labels",
    fisher,
    needs=("gradients",),
    options=(DRAWS, REDUCE_GATES, NORMALISE),
)
