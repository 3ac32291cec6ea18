"""SNACS as a criterion: connectivity, from connections to units, sensitivity, limits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxslim_snacs.activations.requests import PooledRequest, Statistics, pooled_request
from onnxslim_snacs.activations.statistics import collect
from onnxslim_snacs.errors import foreign
from onnxslim_snacs.ir.types import Axis, BoolArray, Group
from onnxslim_snacs.layers.pairs import Pair, layer_pairs
from onnxslim_snacs.scores.criterion import Criterion, Option, ScoreContext, ScoreResult
from onnxslim_snacs.scores.magnitude import l1
from onnxslim_snacs.scores.snacs.acmi import HashOptions
from onnxslim_snacs.scores.snacs.blas import side_by_side
from onnxslim_snacs.scores.snacs.connectivity import Connectivity, connectivity
from onnxslim_snacs.scores.snacs.importance import axis_importance, unit_scores
from onnxslim_snacs.scores.snacs.limits import BoolArray as Mask
from onnxslim_snacs.scores.snacs.limits import FloatArray, PooledLayer, operating_limit
from onnxslim_snacs.scores.snacs.phi import PHI_FORMS, scale_weights
from onnxslim_snacs.scores.snacs.sensitivity import protected_share, sensitivity

#: Rows of pooled activations that the estimator sees; published runs took 2,000 to 2,500.
ROWS = 2048
_TINY = float(np.finfo(np.float64).tiny)
#: Rows on which operating limits are found: a share of classified rows within two per cent.
LIMIT_ROWS = 512
#: Said where SNACS has nothing to look at, integer products for instance.
NO_LAYERS = (
    "SNACS scores layers with stored floating weights, and this model has none: units are ranked "
    "by the L1 norm of their filters instead"
)


@dataclass(frozen=True, slots=True)
class Scored:
    """One layer with its scores.

    Attributes:
        pair: the layer.
        result: connectivity, axes (child, parent), and its quality; None where a child has one
            parent only (depthwise), so that there is nothing to rank.
    """

    pair: Pair
    result: Connectivity | None

    @property
    def rho(self) -> NDArray[np.float64]:
        """Connectivity, axes (child, parent)."""
        return self.pair.weight if self.result is None else self.result.rho


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


def pooled_statistics(context: ScoreContext, pairs: list[Pair]) -> Statistics:
    """One pass over the data: every layer's input and output, averaged over its positions."""
    axes = dict.fromkeys(axis for pair in pairs for axis in (pair.data, pair.out))
    requests = [request(context, axis) for axis in axes]
    classes = class_axis(context)
    return collect(
        context.analysis.facts,
        context.source,
        requests if classes is None else [*requests, request(context, classes)],
        context.session,
        rows_cap=ROWS,
        seed=context.seed,
        progress=lambda done, total: context.progress("activations", done, total),
    )


def request(context: ScoreContext, axis: Axis) -> PooledRequest:
    """What to ask of an axis: the mean over everything but samples and channels."""
    return pooled_request(context.analysis.facts, axis.tensor, axis.dim, context.source.specs)


def class_axis(context: ScoreContext) -> Axis | None:
    """The axis of the first output that ranks classes: (samples, at least 2)."""
    for name in context.analysis.graph.outputs:
        shapes = context.analysis.facts.samples(name)
        if shapes and all(len(s) == 2 and s[1] >= 2 for s in shapes):
            return Axis(name, 1)
    return None


def classes_of(context: ScoreContext, statistics: Statistics) -> NDArray[np.int64] | None:
    """(rows,) the classes: the labels if there are any, else the original's own answers."""
    if statistics.labels is not None:
        return statistics.labels
    axis = class_axis(context)
    if axis is None:
        return None
    answers: NDArray[np.int64] = statistics.pooled[request(context, axis)].argmax(axis=1)
    return answers


def score_pairs(
    context: ScoreContext,
    pairs: list[Pair],
    statistics: Statistics,
    conditioning: str,
    groups: int | None,
    phi: str,
) -> list[Scored]:
    """Connectivity of every layer; weights are scaled over all layers together."""
    scaled = scale_weights([pair.weight for pair in pairs])
    # layers run side by side, so that there are no threads within one unless it is the only one
    options = HashOptions(threads=None if len(pairs) == 1 else 1)

    def one(number: int) -> Scored:
        pair = pairs[number]
        if pair.weight.shape[1] == pair.groups or pair.weight.shape[1] < 2:
            return Scored(pair, None)
        result = connectivity(
            statistics.pooled[request(context, pair.out)],
            statistics.pooled[request(context, pair.data)],
            scaled[number],
            estimator=conditioning,
            phi=phi,
            groups=groups,
            seed=context.seed,
            options=options,
        )
        return Scored(pair, result)

    found: list[Scored] = []
    for scored in side_by_side(one, range(len(pairs))):
        context.progress("connectivity", len(found), len(pairs))
        found.append(scored)
    context.progress("connectivity", len(pairs), len(pairs))
    return found


def group_protection(
    groups: tuple[Group, ...], scored: list[Scored], save: float
) -> dict[str, BoolArray]:
    """The share of the units on which any layer that reads them depends most."""
    masks: dict[str, BoolArray] = {}
    if save <= 0.0:
        return masks
    for group in groups:
        mask = np.zeros(group.units, dtype=bool)
        for item in scored:
            index = group.on(item.pair.data)
            if index is not None and group.units > 1:
                strong = protected_share(sensitivity(item.pair.weight), save)
                mask |= strong[index].any(axis=1)
        if mask.any() and not mask.all():
            masks[group.id] = mask
    return masks


def group_limits(
    context: ScoreContext,
    scored: list[Scored],
    statistics: Statistics,
    scores: Mapping[str, NDArray[np.float64]],
) -> tuple[dict[str, float], dict[str, float]]:
    """The operating constraint of each group: the median of what the layers that read it bear.

    The sweep removes whole units in the order of their scores, for that is what will happen.

    Returns:
        (group id -> limit, layer name -> limit).
    """
    classes = classes_of(context, statistics)
    labels = None if classes is None else classes[:LIMIT_ROWS]
    judged = [item for item in scored if item.result is not None]

    def one(item: Scored) -> float:
        layer = PooledLayer(
            statistics.pooled[request(context, item.pair.data)][:LIMIT_ROWS, :, None],
            item.pair.signed[:, :, None],
        )
        parents = parent_scores(context, item.pair.data, scores)
        return operating_limit(
            layer, parents, labels, removal=whole_parents, seed=context.seed
        ).gamma

    found: dict[str, list[float]] = {}
    layers: dict[str, float] = {}
    for item, gamma in zip(judged, side_by_side(one, judged), strict=True):
        layers[foreign(item.pair.name)] = gamma
        for group in context.analysis.ir.groups:
            if group.on(item.pair.data) is not None:
                found.setdefault(group.id, []).append(gamma)
    return {name: float(np.median(values)) for name, values in found.items()}, layers


def parent_scores(
    context: ScoreContext, data: Axis, scores: Mapping[str, NDArray[np.float64]]
) -> NDArray[np.float64]:
    """(1, P) the score of the unit to which each parent belongs; pinned parents go last."""
    extent = context.analysis.ir.table.extent(data)
    row = np.full(extent, np.inf)
    for group in context.analysis.ir.groups:
        index = group.on(data)
        if index is not None:
            row[index] = np.minimum(row[index], scores[group.id][:, None])
    return row[None, :]


def whole_parents(rho: FloatArray, share: float) -> Mask:
    """Mark the parents with the lowest scores, axes (1, parent), for every child alike."""
    count = int(np.floor(share * rho.shape[1]))
    mask = np.zeros(rho.shape, dtype=bool)
    mask[0, np.argsort(rho[0], kind="stable")[:count]] = True
    return mask


def _layer_notes(scored: list[Scored], sweeps: Mapping[str, float]) -> list[dict[str, Any]]:
    notes = []
    for item in scored:
        name = foreign(item.pair.name)
        note: dict[str, Any] = {"layer": name, "limit": sweeps.get(name)}
        if item.result is not None:
            note.update(asdict(item.result.quality))
        notes.append(note)
    return notes


def score_gaussian(
    context: ScoreContext,
    groups: int | None = None,
    phi: str = "weight",
    units: str = "direct",
    save: float = 0.0,
) -> ScoreResult:
    """As `score`, with conditional information from partial correlations."""
    return score(context, groups, "gaussian", phi, units, save)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError("expected at least 1")
    return number


def _share(text: str) -> float:
    number = float(text)
    if not 0.0 <= number < 1.0:
        raise ValueError("expected a share from 0 to below 1")
    return number


def _one_of(*names: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in names:
            raise ValueError(f"expected one of {', '.join(names)}")
        return text

    return read


_CONDITIONING = Option(
    "conditioning",
    _one_of("residual", "hash"),
    "the other parents' linear part is taken out (residual, default), or hashed as published",
)
_GROUPS = Option("groups", _positive, "filter groups per layer instead of single filters")
_PHI = Option("phi", _one_of(*PHI_FORMS), f"what scores are scaled by: {', '.join(PHI_FORMS)}")
_UNITS = Option(
    "units", _one_of(*UNITS), "a unit's own connections (direct), or importance from the outputs"
)
_SAVE = Option("save", _share, "share of each layer's units that its sensitivity protects (0)")
_COMMON = (_GROUPS, _PHI, _UNITS, _SAVE)
SNACS = Criterion(
    "snacs",
    "adaptive conditional mutual information times weights (Ganesh et al. 2020)",
    score,
    needs=("weights", "activations", "labels"),
    options=(_CONDITIONING, *_COMMON),
)
SNACS_REFIT = replace(
    SNACS,
    name="snacs-refit",
    summary="the sum of the rank by snacs and twice the rank by refit",
    joins_refit=True,
)
GAUSSIAN = Criterion(
    "snacs-gaussian",
    "snacs with conditional information from partial correlations",
    score_gaussian,
    needs=("weights", "activations", "labels"),
    options=_COMMON,
)
