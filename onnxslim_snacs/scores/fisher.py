"""Logit-Fisher (method 6.2): how much a gate on a unit moves the answers, without labels.

With z = v'J the gradient of randomly signed answers for the gate (`unit_gates`, `losses`),
the score of a unit is the mean of z^2 over samples and signs: the diagonal of the Gauss-Newton
matrix of the squared error of the answers, which is to second order what taking the unit away
alone costs.  Scores of different groups compare.
"""

from __future__ import annotations

import numpy as np

from onnxslim_snacs.layers.moments import FloatArray
from onnxslim_snacs.scores.criterion import Criterion, ScoreContext, ScoreResult
from onnxslim_snacs.scores.losses import DRAWS, Signs
from onnxslim_snacs.scores.magnitude import l1
from onnxslim_snacs.scores.unit_gates import mean_over_samples

#: Signs for each sample: more of them matter less than more samples.
SIGNS = 2


def fisher(context: ScoreContext, draws: int = SIGNS) -> ScoreResult:
    """Mean squared gradient of randomly signed answers for each unit's gate."""
    return completed(context, mean_over_samples(context, Signs(context.seed, draws), np.square))


def completed(context: ScoreContext, scores: dict[str, FloatArray], **notes: str) -> ScoreResult:
    """The result, with groups that no gate reaches ordered by the L1 norm of their filters."""
    blind = [group.id for group in context.analysis.ir.groups if group.id not in scores]
    norms = l1(context).scores if blind else {}
    told = {**notes, "ordered by their norms": blind} if blind else dict(notes)
    return ScoreResult({**scores, **{name: norms[name] for name in blind}}, notes=told)


FISHER = Criterion(
    "fisher",
    "squared gradient of the answers for a gate on each unit, random signs instead of labels",
    fisher,
    needs=("gradients",),
    options=(DRAWS,),
)
