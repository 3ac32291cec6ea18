"""SNACS as a criterion: connectivity, from connections to units, sensitivity, limits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from onnxslim_snacs.errors import foreign
from onnxslim_snacs.layers.pairs import layer_pairs
from onnxslim_snacs.scores.criterion import ScoreContext, ScoreResult
from onnxslim_snacs.scores.magnitude import l1
from onnxslim_snacs.scores.snacs.group_limits import group_limits, group_protection
from onnxslim_snacs.scores.snacs.importance import axis_importance, unit_scores
from onnxslim_snacs.scores.snacs.limits import FloatArray
from onnxslim_snacs.scores.snacs.pooled import pooled_statistics
from onnxslim_snacs.scores.snacs.scored_pairs import Scored, score_pairs

_TINY = float(np.finfo(np.float64).tiny)
#: Said where SNACS has nothing to look at, integer products for instance.
NO_LAYERS = (
    "SNACS scores layers with stored floating weights, and this model has none: units are ranked "
    "by the L1 norm of their filters instead"
)


def score(
    context: ScoreContext,
    groups: int | None = None,
    conditioning: str = "residual",
    phi: str = "weight",
    units: str = "direct",
    save: float = 0.0,
) -> ScoreResult:
    """Score every unit by the connections over which it is read.

    Args:
        context: the model and its data.
        groups: filter groups for each layer; None for single filters.
        conditioning: how the other parents are accounted for, a key of `ESTIMATORS`.
        phi: a key of `PHI_FORMS`.
        units: how connections make units, a key of `UNITS`.
        save: share of the units of each layer that its sensitivity protects.
    """
    pairs = list(layer_pairs(context.analysis))
    if not pairs:
        return replace(l1(context), warnings=(NO_LAYERS,))
    statistics = pooled_statistics(context, pairs)
    scored = score_pairs(context, pairs, statistics, conditioning, groups, phi)
    scores = UNITS[units](context, scored)
    limits, sweeps = group_limits(context, scored, statistics, scores)
    return ScoreResult(
        scores=scores,
        limits=limits,
        protected=group_protection(context.analysis.ir.groups, scored, save),
        notes={
            "snacs": {
                "conditioning": conditioning,
                "phi": phi,
                "units": units,
                "groups": groups,
                "layers": _layer_notes(scored, sweeps),
            }
        },
    )


def direct_scores(context: ScoreContext, scored: list[Scored]) -> dict[str, FloatArray]:
    """Group id -> (units,) the share of all connectivity of the layers that read each unit.

    Layers whose children have one parent each (depthwise) rank nothing: what reads the unit behind
    them does.
    """
    ranked = [item for item in scored if item.result is not None]
    found = {}
    for group in context.analysis.ir.groups:
        readers = [(s, on) for s in ranked if (on := group.on(s.pair.data)) is not None]
        if not readers:
            readers = [(s, on) for s in scored if (on := group.on(s.pair.data)) is not None]
        total = np.zeros(group.units)
        for item, index in readers:
            total += (item.rho.sum(axis=0) / max(float(item.rho.sum()), _TINY))[index].sum(axis=1)
        found[group.id] = total
    return found


def flow_scores(context: ScoreContext, scored: list[Scored]) -> dict[str, FloatArray]:
    """Group id -> (units,) the importance that reaches each unit from the outputs (method 3.6)."""
    values = axis_importance(context.analysis, {(s.pair.node, s.pair.data): s.rho for s in scored})
    sinks = [s.pair.data for s in scored]
    return {g.id: unit_scores(g, sinks, values) for g in context.analysis.ir.groups}


#: From connections to units.
UNITS: Mapping[str, Callable[[ScoreContext, list[Scored]], dict[str, FloatArray]]] = {
    "direct": direct_scores,
    "flow": flow_scores,
}


def _layer_notes(scored: list[Scored], sweeps: Mapping[str, float]) -> list[dict[str, Any]]:
    notes = []
    for item in scored:
        name = foreign(item.pair.name)
        note: dict[str, Any] = {"layer": name, "limit": sweeps.get(name)}
        if item.result is not None:
            note.update(asdict(item.result.quality))
        notes.append(note)
    return notes
