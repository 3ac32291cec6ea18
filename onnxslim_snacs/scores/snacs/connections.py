"""SNACS as its authors' code has it: connections, not channels (method 3.3, 3.9).

Own choices, where the release is silent or cannot be had: buckets are those of our estimator, and
the sweep uses that pooled outputs are linear in what the taps of a filter see, pooled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onnxslim_snacs.activations.requests import Statistics
from onnxslim_snacs.activations.statistics import collect
from onnxslim_snacs.errors import NothingToPrune, foreign
from onnxslim_snacs.ir.types import BoolArray
from onnxslim_snacs.layers.pairs import Pair, layer_matrix, layer_pairs
from onnxslim_snacs.ops.analyse import Analysis
from onnxslim_snacs.scores.criterion import ScoreContext
from onnxslim_snacs.scores.snacs.acmi import HashOptions
from onnxslim_snacs.scores.snacs.connectivity import Connectivity, connectivity
from onnxslim_snacs.scores.snacs.limits import (
    PooledLayer,
    last_above,
    operating_limit,
    rectified,
    released_accuracy,
    removed_at_cutoff,
)
from onnxslim_snacs.scores.snacs.parents import LayerPair, consecutive_layers
from onnxslim_snacs.scores.snacs.phi import scale_weights_signed
from onnxslim_snacs.scores.snacs.pooled import ROWS, class_axis, classes_of, request
from onnxslim_snacs.scores.snacs.sensitivity import legacy_lowest_signed
from onnxslim_snacs.scores.snacs.taps import Pooled, pooled_taps

#: Rows on which limits are found.
LIMIT_ROWS = 1024


@dataclass(frozen=True, slots=True)
class ReleasedLayer:
    """The scores of one layer's connections.

    Attributes:
        pair: the layer and the one before it.
        scores: connectivity and its quality, axes (child, parent of the layer before).
        rho: connectivity, axes (child, channel that the child reads).
        limit: the share of the connections that may go.
        taps: weights in one connection.
        protected: (C,) children whose connections stay.
    """

    pair: LayerPair
    scores: Connectivity
    rho: NDArray[np.float64]
    limit: float
    taps: int
    protected: BoolArray


@dataclass(frozen=True, slots=True)
class Released:
    """The scores of a model.

    Attributes:
        layers: what was scored.
        skipped: name of a layer -> why it was not, so that it stays whole.
    """

    layers: tuple[ReleasedLayer, ...]
    skipped: dict[str, str]


def score_connections(
    context: ScoreContext, *, groups: int | None = None, phi: str = "weight", save: float = 0.0
) -> Released:
    """Score every connection and find every layer's limit.

    Args:
        context: the model and its data.
        groups: contiguous filter groups on each side of a layer; None for single filters.
        phi: a key of `PHI_FORMS`.
        save: share of each layer's filters that the released sensitivity protects.

    Raises:
        NothingToPrune: the model has no two consecutive layers with weights.
    """
    layers = [p for p in layer_pairs(context.analysis) if _is_float(context.analysis, p)]
    pairs, skipped = consecutive_layers(context.analysis, layers)
    if not pairs:
        raise NothingToPrune(
            "`released` scores connections between consecutive layers with stored weights, and "
            "this model has none"
        )
    statistics = _statistics(context, pairs)
    filters = [layer_matrix(context.analysis, pair.child) for pair in pairs]
    scaled = scale_weights_signed(filters)
    few = context.source.part(0, min(LIMIT_ROWS, context.source.samples))
    seen = pooled_taps(context, few, [pair.child for pair in pairs], class_axis(context))
    found = []
    for number, pair in enumerate(pairs):
        context.progress("connectivity", number, len(pairs))
        result = _connectivity(context, statistics, pair, scaled[number], groups, phi)
        rho = result.rho[:, pair.source]
        limit = _limit(context, statistics, pair, rho, filters[number], seen)
        readers = [w for p, w in zip(pairs, scaled, strict=True) if p.parent is pair.child]
        guarded = _guarded(readers, len(rho), save)
        taps = filters[number].shape[2]
        found.append(ReleasedLayer(pair, result, rho, limit, taps, guarded))
    context.progress("connectivity", len(pairs), len(pairs))
    return Released(tuple(found), {foreign(name): why for name, why in skipped.items()})


def decide_connections(layers: Sequence[ReleasedLayer], share: float) -> list[BoolArray]:
    """Which connections go: one cutoff for all, capped by each layer's limit (method 3.9).

    Args:
        layers: the scored layers.
        share: the cutoff's place among all distinct scores, 0 (nothing goes) to 1.

    Returns:
        For each layer a mask of what goes, axes (child, channel that the child reads).
    """
    if share <= 0.0:
        return [np.zeros(layer.rho.shape, dtype=bool) for layer in layers]
    distinct = np.unique(np.concatenate([layer.rho.ravel() for layer in layers]))
    cutoff = distinct[min(round(share * len(distinct)), len(distinct) - 1)]
    masks = []
    for layer in layers:
        goes = layer.rho <= cutoff
        if goes.mean() >= layer.limit:
            goes = removed_at_cutoff(layer.rho, layer.limit)
        masks.append(goes & ~layer.protected[:, None])
    return masks


def retained(layers: Sequence[ReleasedLayer], masks: Sequence[BoolArray]) -> float:
    """The share of the scored layers' weights that stays.

    Args:
        layers: the layers.
        masks: which connections of each go, axes (child, parent).
    """
    stays = sum(layer.taps * int((~m).sum()) for layer, m in zip(layers, masks, strict=True))
    return stays / sum(layer.taps * layer.rho.size for layer in layers)


def _is_float(analysis: Analysis, pair: Pair) -> bool:
    """Whether a layer's weights are stored as they are, so that zeros switch connections off."""
    weights = (s.weight for p, s in analysis.ir.sinks if p == pair.node and s.axis == pair.data)
    values = (analysis.facts.value(axis.tensor) for axis in weights if axis is not None)
    return all(value is not None and value.dtype.kind == "f" for value in values)


def _statistics(context: ScoreContext, pairs: Sequence[LayerPair]) -> Statistics:
    """One pass over the data: inputs and outputs of the layers, before normalisation."""
    axes = [axis for p in pairs for axis in (p.child.data, p.child.out, p.parent.out)]
    classes = class_axis(context)
    return collect(
        context.analysis.facts,
        context.source,
        [request(context, a) for a in dict.fromkeys([*axes, *([classes] if classes else [])])],
        context.session,
        rows_cap=ROWS,
        seed=context.seed,
        progress=lambda done, total: context.progress("activations", done, total),
    )


def _connectivity(
    context: ScoreContext,
    statistics: Statistics,
    pair: LayerPair,
    weights: NDArray[np.float64],
    groups: int | None,
    phi: str,
) -> Connectivity:
    parents = pair.parent.weight.shape[0]
    # a flattened parent is read through a block of columns: its weight is their mean
    reads = np.zeros((len(pair.source), parents))
    reads[np.arange(len(pair.source)), pair.source] = 1.0
    return connectivity(
        statistics.pooled[request(context, pair.child.out)],
        statistics.pooled[request(context, pair.parent.out)],
        weights @ (reads / np.maximum(reads.sum(axis=0), 1.0)),
        estimator="hash",
        groups=groups,
        phi=phi,
        seed=context.seed,
        options=HashOptions(form="edges"),
    )


def _limit(
    context: ScoreContext,
    statistics: Statistics,
    pair: LayerPair,
    rho: NDArray[np.float64],
    filters: NDArray[np.float64],
    seen: tuple[Pooled, NDArray[np.int64] | None],
) -> float:
    """The share of a layer's connections that may go; rows of `seen` are the first samples."""
    bias = context.analysis.nodes[pair.child.node].in_value(2)
    patches, labels = seen
    rows = patches.get(pair.child.node)
    if rows is None:
        rows = statistics.pooled[request(context, pair.child.data)][:LIMIT_ROWS, :, None]
        first = np.array_equal(statistics.index[: len(rows)], np.arange(len(rows)))
        labels = labels if first else classes_of(context, statistics)
        filters = pair.child.signed[:, :, None]
    layer = PooledLayer(
        rows, filters, None if bias is None else bias.astype(np.float64).reshape(-1)
    )
    found = operating_limit(
        layer,
        rho,
        None if labels is None else labels[: len(rows)],
        rule=last_above,
        removal=removed_at_cutoff,
        activation=rectified,
        accuracy=released_accuracy,
        seed=context.seed,
    )
    return found.gamma


def _guarded(readers: Sequence[NDArray[np.float64]], children: int, save: float) -> BoolArray:
    """(C,) filters that the first layer that reads them protects."""
    if save <= 0.0 or not readers or readers[0].shape[1] != children:
        return np.zeros(children, dtype=bool)
    return legacy_lowest_signed(readers[0], save)
