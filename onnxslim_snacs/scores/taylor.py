"""First-order Taylor (method 6.2): how much the loss changes when a gate closes.

The form of 2019 (Molchanov et al., their method 22): the mean over samples of z^2, with z the sum
of a dL/da.  The form of 2016 (Molchanov et al. 2017): the mean over samples of |mean over pixels
of a dL/da|, divided by its Euclidean norm over the group (`normalise`).  Without labels the loss is
that of random signs (`losses`), and the form of 2019 is then the logit-Fisher.
"""

from __future__ import annotations

import numpy as np

from onnxslim_snacs.scores.criterion import Criterion, Option, ScoreContext, ScoreResult
from onnxslim_snacs.scores.fallback import completed
from onnxslim_snacs.scores.fisher import SIGNS
from onnxslim_snacs.scores.losses import DRAWS, LOSS, choose_losses
from onnxslim_snacs.scores.parts import NORMALISE, one_of
from onnxslim_snacs.scores.unit_gates import REDUCE_GATES, mean_over_samples


def taylor(
    context: ScoreContext,
    form: str = "2019",
    loss: str = "auto",
    draws: int = SIGNS,
    reduce: str = "gate",
    normalise: str = "auto",
) -> ScoreResult:
    """Change of the loss to first order as each unit goes."""
    name, losses = choose_losses(context, loss, draws=draws)
    old = form == "2016"
    if normalise == "auto":
        normalise = "l2" if old else "none"
    measure = np.abs if old else np.square
    scores = mean_over_samples(
        context, losses, measure, mean=old, reduce=reduce, normalise=normalise
    )
    return completed(context, scores, loss=name)


TAYLOR = Criterion(
    "taylor",
    "squared first-order change of the loss as a unit goes (Molchanov et al. 2019, 2017)",
    taylor,
    needs=("gradients", "labels"),
    options=(
        Option("form", one_of("2019", "2016"), "2019, or 2016: absolute means, normed by group"),
        LOSS,
        DRAWS,
        REDUCE_GATES,
        NORMALISE,
    ),
)
