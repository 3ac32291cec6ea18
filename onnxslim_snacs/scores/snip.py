"""SNIP (method 6.2): connection sensitivity at the gates of units (Lee, Ajanthan, Torr 2019).

The paper's |dL/dc| of one batch, divided by its sum over all units: z summed over the samples
before its absolute value is taken.  At a minimum of the loss that sum is nearly zero and holds
noise alone; for networks that are trained, `per-sample` takes the absolute value first.
"""

from __future__ import annotations

import numpy as np

from onnxslim_snacs.layers.moments import FloatArray
from onnxslim_snacs.scores.criterion import Criterion, Option, ScoreContext, ScoreResult
from onnxslim_snacs.scores.fisher import SIGNS, completed
from onnxslim_snacs.scores.losses import DRAWS, LOSS, choose_losses
from onnxslim_snacs.scores.unit_gates import Losses, gate_products, mean_over_samples

FORMS = ("batch", "per-sample")


def _read_form(text: str) -> str:
    if text not in FORMS:
        raise ValueError(f"expected one of {', '.join(FORMS)}")
    return text


def snip(
    context: ScoreContext, form: str = "batch", loss: str = "auto", draws: int = SIGNS
) -> ScoreResult:
    """Share of each unit's gate in the sensitivity of all."""
    name, losses = choose_losses(context, loss, draws=draws, shared=form == "batch")
    if form == "batch":
        found = _of_the_whole(context, losses)
    else:
        found = mean_over_samples(context, losses, np.abs)
    total = sum(float(values.sum()) for values in found.values()) or 1.0
    return completed(context, {g: v / total for g, v in found.items()}, loss=name)


def _of_the_whole(context: ScoreContext, losses: Losses) -> dict[str, FloatArray]:
    """Group -> (units,) |z| summed over all samples first; the mean over draws."""
    sums: dict[tuple[int, str], FloatArray] = {}
    for products in gate_products(context, losses):
        for draw, z in enumerate(products):
            for group, values in z.items():
                sums[draw, group] = sums.get((draw, group), 0.0) + values.sum(axis=0)
    found: dict[str, FloatArray] = {}
    for (_, group), values in sums.items():
        found[group] = found.get(group, 0.0) + np.abs(values)
    return found


SNIP = Criterion(
    "snip",
    "connection sensitivity summed to units (Lee et al. 2019)",
    snip,
    needs=("gradients", "labels"),
    options=(
        Option("form", _read_form, "batch, or per-sample: for networks that are trained"),
        LOSS,
        DRAWS,
    ),
)
