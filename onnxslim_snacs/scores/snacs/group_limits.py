"""What sensitivity says of whole groups: how much may go, and which units stay."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from onnxslim_snacs.activations.requests import Statistics
from onnxslim_snacs.errors import foreign
from onnxslim_snacs.ir.types import Axis, BoolArray, Group
from onnxslim_snacs.scores.criterion import ScoreContext
from onnxslim_snacs.scores.snacs.blas import side_by_side
from onnxslim_snacs.scores.snacs.limits import BoolArray as Mask
from onnxslim_snacs.scores.snacs.limits import FloatArray, PooledLayer, operating_limit
from onnxslim_snacs.scores.snacs.pooled import classes_of, request
from onnxslim_snacs.scores.snacs.scored_pairs import Scored
from onnxslim_snacs.scores.snacs.sensitivity import protected_share, sensitivity

#: Rows on which operating limits are found: a share of classified rows within two per cent.
LIMIT_ROWS = 512


def group_protection(
    groups: tuple[Group, ...], scored: list[Scored], save: float
) -> dict[str, BoolArray]:
    """The share of the units on which any layer that reads them depends most.

    Args:
        groups: what can be pruned.
        scored: the layers, with the weights by which they read.
        save: the share, 0 to 1.

    Returns:
        Group id -> mask, axis (unit); groups with none or with all of them marked are left out.
    """
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

    Args:
        context: the model and its data.
        scored: the layers.
        statistics: their pooled inputs.
        scores: group id -> (units,).

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
