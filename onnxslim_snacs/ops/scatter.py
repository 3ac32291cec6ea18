"""ScatterND: updates written into a copy of the data.

Exporters write `x[..., a:b] = y` as ScatterND with constant indices that form a grid: component c
of an index depends on one axis of the updates only.  Then everything is an exact index map.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from onnxslim_snacs.ir.types import Fact, IntArray, Pin, Tie
from onnxslim_snacs.ops.common import pin_operand
from onnxslim_snacs.ops.node import Edit, Keep, OpNode, SetInput, known
from onnxslim_snacs.ops.registry import Family, OpRule


@dataclass(frozen=True, slots=True)
class GridAxis:
    """One axis of the data that is addressed by the indices.

    Attributes:
        source: the axis of the updates that runs along it; None if the index is fixed.
        index: for each slot of `source` the slot that it is written to.
    """

    source: int | None
    index: IntArray


def propagate(node: OpNode) -> Iterable[Fact]:
    """Data (k ... rest), indices (m ..., k), updates (m ... rest) -> output like data."""
    rank, picks = len(known(node.in_shape(0))), len(known(node.in_shape(1))) - 1
    depth = known(node.in_shape(1))[-1]
    depth = rank if depth is None else depth
    yield from pin_operand(node, 1)
    for dim in range(rank):
        yield Tie(node.in_axis(0, dim), node.out_axis(dim))
    for dim in range(depth, rank):
        yield Tie(node.in_axis(2, picks + dim - depth), node.out_axis(dim))
    grid = _grid(node)
    if grid is None:
        for dim in range(depth):
            yield Pin(node.out_axis(dim), "written to at indices that are computed")
        for dim in range(picks):
            yield Pin(node.in_axis(2, dim), "written at indices that are computed")
        return
    for dim, axis in enumerate(grid):
        if axis.source is None:
            yield Pin(node.out_axis(dim), "written to at a constant index", axis.index)
        else:
            yield Tie(node.in_axis(2, axis.source), node.out_axis(dim), None, axis.index)
    for dim in set(range(picks)) - {axis.source for axis in grid}:
        yield Pin(node.in_axis(2, dim), "written at a constant index", structural=True)


def _grid(node: OpNode) -> tuple[GridAxis, ...] | None:
    """The indices as one axis for each component; None if they form no grid."""
    value, shape = node.in_value(1), known(node.in_shape(0))
    if value is None or value.size == 0 or None in shape[: value.shape[-1]]:
        return None
    indices = np.where(value < 0, value + np.array(shape[: value.shape[-1]]), value)
    found: list[GridAxis] = []
    for component in np.moveaxis(indices, -1, 0):
        varies = [d for d in range(component.ndim) if (component != component.take([0], d)).any()]
        if len(varies) > 1:
            return None
        source = varies[0] if varies else None
        line = tuple(slice(None) if d == source else 0 for d in range(component.ndim))
        found.append(GridAxis(source, np.atleast_1d(component[line]).astype(np.int64)))
    sources = [axis.source for axis in found if axis.source is not None]
    varied = {d for d in range(indices.ndim - 1) if indices.shape[d] > 1}
    once = all(len(np.unique(axis.index)) == len(axis.index) for axis in found)
    return tuple(found) if once and sorted(sources) == sorted(varied) else None


def shrink(node: OpNode, keep: Keep) -> Iterable[Edit]:
    """Indices of removed slots are left out, the others renumbered."""
    grid, value = _grid(node), node.in_value(1)
    if grid is None or value is None:
        return
    indices = value.astype(np.int64)
    for dim, axis in enumerate(grid):
        kept = keep.index(node.out_axis(dim))
        if kept is None:
            continue
        stays = np.flatnonzero(np.isin(axis.index, kept))
        fresh = np.searchsorted(kept, axis.index[stays])
        if axis.source is None:
            indices[..., dim] = fresh
            continue
        indices = np.take(indices, stays, axis=axis.source)
        spread = [1] * (indices.ndim - 1)
        spread[axis.source] = -1
        indices[..., dim] = fresh.reshape(spread)
    yield SetInput(1, indices)


RULES: Family = {"ScatterND": OpRule(propagate, shrink)}
