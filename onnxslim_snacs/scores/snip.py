"""SNIP (method 6.2): how sensitive the loss is to connections (Lee, Ajanthan, Torr 2019).

`connections` is the paper's form: |w dL/dw| of every weight, over one batch, and of a unit the sum
over all weights that go with it.  `gate` closes the unit as a whole: |z| of the batch, z as in
`unit_gates`.  At a minimum of the loss both hold noise alone, since the samples cancel; for
networks that are trained, `per-sample` takes |z| of each.  Scores are shares of the sum over all
units.
"""

from __future__ import annotations

import numpy as np

from onnxslim_snacs.layers.moments import FloatArray
from onnxslim_snacs.scores.criterion import Criterion, Option, ScoreContext, ScoreResult
from onnxslim_snacs.scores.fallback import completed
from onnxslim_snacs.scores.fisher import SIGNS
from onnxslim_snacs.scores.losses import DRAWS, LOSS, choose_losses
from onnxslim_snacs.scores.parts import NORMALISE, Part, one_of, together
from onnxslim_snacs.scores.unit_gates import (
    REDUCE_GATES,
    Gated,
    Losses,
    device_of,
    gate_products,
    mean_over_samples,
    of_gates,
)
from onnxslim_snacs.scores.unit_weights import summed_gradients, unit_weights
from onnxslim_snacs.torch_graph.network import open_network


def snip(
    context: ScoreContext,
    form: str = "connections",
    loss: str = "auto",
    draws: int = SIGNS,
    reduce: str = "auto",
    normalise: str = "none",
    per: str = "unit",
) -> ScoreResult:
    """Share of each unit in the sensitivity of all."""
    name, losses = choose_losses(context, loss, draws=draws, shared=form != "per-sample")
    if form == "connections":
        how = "sum" if reduce in ("auto", "gate") else reduce
        found = _of_connections(context, losses, how, normalise, per)
    else:
        how = "gate" if reduce == "auto" else reduce
        found = _of_gates(context, losses, form, how, normalise)
    total = sum(float(values.sum()) for values in found.values()) or 1.0
    return completed(context, {g: v / total for g, v in found.items()}, loss=name)


def _of_connections(
    context: ScoreContext, losses: Losses, reduce: str, normalise: str, per: str
) -> dict[str, FloatArray]:
    """Group -> (units,) |w dL/dw| over the weights that make and that read each unit."""
    analysis = context.analysis
    network = open_network(analysis.graph, device=device_of(context))
    parts = unit_weights(analysis, network.trained)
    keys = list(dict.fromkeys(axis.tensor for _, axis, _ in parts))
    sensitive: dict[str, FloatArray] = {}
    for slopes in summed_gradients(context, network, keys, losses):
        for key, slope in slopes.items():
            product = (network.values[key].detach() * slope).abs().double().cpu().numpy()
            sensitive[key] = sensitive.get(key, 0.0) + product
    found: dict[str, list[Part]] = {}
    counts: dict[str, int] = {}
    for group, axis, index in parts:
        values = np.moveaxis(sensitive[axis.tensor], axis.dim, 0)
        of_slots = values.reshape(len(values), -1).sum(axis=1)
        found.setdefault(group, []).append(Part(of_slots[index].sum(axis=1)))
        counts[group] = counts.get(group, 0) + values[0].size * index.shape[1]
    return {
        group: together(several, reduce, normalise) / (counts[group] if per == "weight" else 1)
        for group, several in found.items()
    }


def _of_gates(
    context: ScoreContext, losses: Losses, form: str, reduce: str, normalise: str
) -> dict[str, FloatArray]:
    """Group -> (units,) |z|, of the whole batch or of each sample."""
    if form == "per-sample":
        return mean_over_samples(context, losses, np.abs, reduce=reduce, normalise=normalise)
    sums: dict[tuple[int, Gated], FloatArray] = {}
    for products in gate_products(context, losses, apart=reduce != "gate"):
        for draw, z in enumerate(products):
            for key, values in z.items():
                sums[draw, key] = sums.get((draw, key), 0.0) + values.sum(axis=0)
    found: dict[Gated, FloatArray] = {}
    for (_, key), values in sums.items():
        found[key] = found.get(key, 0.0) + np.abs(values)
    return of_gates(found, reduce, normalise)


SNIP = Criterion(
    "snip",
    "connection sensitivity summed to units (Lee et al. 2019)",
    snip,
    needs=("gradients", "labels"),
    options=(
        Option(
            "form",
            one_of("connections", "gate", "per-sample"),
            "connections (the paper's), gate, or per-sample: for networks that are trained",
        ),
        Option(
            "per", one_of("unit", "weight"), "unit, or weight: units with many are no dearer for it"
        ),
        LOSS,
        DRAWS,
        REDUCE_GATES,
        NORMALISE,
    ),
)
