"""First-order Taylor (method 6.2): how much the loss changes when a gate closes.

The form of 2019 (Molchanov et al., their method 22): the mean over samples of z^2, with z the sum
of a dL/da.  The form of 2016 (Molchanov et al. 2017): the mean over samples of |mean over pixels
of a dL/da|, divided by its Euclidean norm over the group.  Without labels the loss is that of
random signs (`losses`), and the form of 2019 is then the logit-Fisher.
"""

from __future__ import annotations

import numpy as np

from onnxslim_snacs.layers.moments import FloatArray
from onnxslim_snacs.scores.criterion import Criterion, Option, ScoreContext, ScoreResult
from onnxslim_snacs.scores.fisher import SIGNS, completed
from onnxslim_snacs.scores.losses import DRAWS, LOSS, choose_losses
from onnxslim_snacs.scores.unit_gates import mean_over_samples

FORMS = ("2019", "2016")


def _read_form(text: str) -> str:
    if text not in FORMS:
        raise ValueError(f"expected one of {', '.join(FORMS)}")
    return text


def taylor(
    context: ScoreContext, form: str = "2019", loss: str = "auto", draws: int = SIGNS
) -> ScoreResult:
    """Change of the loss to first order as each unit goes."""
    name, losses = choose_losses(context, loss, draws=draws)
    if form == "2019":
        return completed(context, mean_over_samples(context, losses, np.square), loss=name)
    scores = mean_over_samples(context, losses, np.abs, mean=True)
    return completed(context, {group: _unit(values) for group, values in scores.items()}, loss=name)


def _unit(values: FloatArray) -> FloatArray:
    """Divided by the Euclidean norm."""
    found: FloatArray = values / (np.linalg.norm(values) or 1.0)
    return found


TAYLOR = Criterion(
    "taylor",
    "squared first-order change of the loss as a unit goes (Molchanov et al. 2019, 2017)",
    taylor,
    needs=("gradients", "labels"),
    options=(
        Option("form", _read_form, "2019, or 2016: absolute means, normed by group"),
        LOSS,
        DRAWS,
    ),
)
