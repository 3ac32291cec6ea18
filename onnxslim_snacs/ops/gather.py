"""Gather and its kin: slots picked by an index operand.

Constant indices give an exact index map; indices that are computed may ask for any slot, so that
the axis on which they pick has to stay whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from onnxslim_snacs.ir.types import Fact, IntArray, Pin, Tie
from onnxslim_snacs.ops.common import pin_operand
from onnxslim_snacs.ops.node import Edit, Keep, OpNode, SetInput, arange, known
from onnxslim_snacs.ops.registry import Family, OpRule

COMPUTED = "picked by indices that are computed"


def propagate_gather(node: OpNode) -> Iterable[Fact]:
    """The indices' axes (q of them) stand in the output where the data's axis was."""
    rank, picks = len(known(node.in_shape(0))), len(known(node.in_shape(1)))
    axis = int(node.attr("axis", 0)) % rank
    for dim in range(rank):
        if dim != axis:
            yield Tie(node.in_axis(0, dim), node.out_axis(dim + (picks - 1) * (dim > axis)))
    indices = constant_indices(node, axis)
    if indices is None:
        yield Pin(node.in_axis(0, axis), COMPUTED, structural=True)
        for dim in range(picks):
            yield Tie(node.in_axis(1, dim), node.out_axis(axis + dim))
        return
    yield from pin_operand(node, 1)
    if picks == 1:
        yield Tie(node.in_axis(0, axis), node.out_axis(axis), indices, None)
        return
    chosen = np.unique(indices)
    yield Pin(node.in_axis(0, axis), "picked by a constant index", chosen, structural=True)
    for dim in range(picks):
        yield Pin(node.out_axis(axis + dim), "picked by a table of constant indices")


def constant_indices(node: OpNode, axis: int) -> IntArray | None:
    """The index operand, counted from 0; None unless it and the data's extent are known."""
    extent, indices = known(node.in_shape(0))[axis], node.in_value(1)
    if extent is None or indices is None:
        return None
    return np.where(indices < 0, indices + extent, indices).astype(np.int64)


def shrink_gather(node: OpNode, keep: Keep) -> Iterable[Edit]:
    """Constant indices are renumbered, those of removed output slots left out."""
    axis = int(node.attr("axis", 0)) % len(known(node.in_shape(0)))
    indices = constant_indices(node, axis)
    if indices is None:
        return
    kept = keep.index(node.in_axis(0, axis))
    stays = [keep.index(node.out_axis(axis + dim)) for dim in range(indices.ndim)]
    if kept is None and all(index is None for index in stays):
        return
    for dim, index in enumerate(stays):
        indices = indices if index is None else np.take(indices, index, axis=dim)
    indices = indices if kept is None else np.searchsorted(kept, indices)
    yield SetInput(1, np.asarray(indices, dtype=operand_type(node)))


def operand_type(node: OpNode) -> np.dtype[np.signedinteger]:
    """Element type of the index operand: int32 or int64."""
    value = node.in_value(1)
    return np.dtype(np.int64) if value is None else value.dtype


def propagate_gather_elements(node: OpNode) -> Iterable[Fact]:
    """Element [i] [j] ... of the output is one of the data's in the same place but for one axis."""
    rank = len(known(node.in_shape(0)))
    axis = int(node.attr("axis", 0)) % rank
    yield Pin(node.in_axis(0, axis), COMPUTED)
    yield Tie(node.in_axis(1, axis), node.out_axis(axis))
    for dim in range(rank):
        if dim != axis:
            yield Tie(node.in_axis(1, dim), node.out_axis(dim))
            yield from _first_slots(node, 0, 1, dim)


def propagate_scatter_elements(node: OpNode) -> Iterable[Fact]:
    """Like GatherElements the other way round: updates go into a copy of the data."""
    rank = len(known(node.in_shape(0)))
    axis = int(node.attr("axis", 0)) % rank
    for operand in (0, 1, 2):
        yield Pin(node.in_axis(operand, axis), COMPUTED)
    for dim in range(rank):
        yield Tie(node.in_axis(0, dim), node.out_axis(dim))
        if dim != axis:
            yield Tie(node.in_axis(1, dim), node.in_axis(2, dim))
            yield from _first_slots(node, 0, 1, dim)


def _first_slots(node: OpNode, long: int, short: int, dim: int) -> Iterator[Fact]:
    """An axis of one input is the beginning of that of another."""
    extent, data = known(node.in_shape(short))[dim], known(node.in_shape(long))[dim]
    if extent is None or data is None:
        yield Tie(node.in_axis(long, dim), node.in_axis(short, dim))
    else:
        first = arange(0, extent)
        yield Tie(node.in_axis(long, dim), node.in_axis(short, dim), first, first)


def propagate_gather_nd(node: OpNode) -> Iterable[Fact]:
    """Data (b ... k ... rest), indices (b ... m ..., k) -> output (b ... m ... rest)."""
    batch, indices = int(node.attr("batch_dims", 0)), known(node.in_shape(1))
    depth, rank = indices[-1], len(known(node.in_shape(0)))
    yield Pin(node.in_axis(1, -1), COMPUTED, structural=True)
    for dim in range(batch):
        yield Tie(node.in_axis(0, dim), node.out_axis(dim))
    for dim in range(len(indices) - 1):
        yield Tie(node.in_axis(1, dim), node.out_axis(dim))
    width = rank - batch if depth is None else depth
    for dim in range(batch, batch + width):
        yield Pin(node.in_axis(0, dim), COMPUTED)
    for dim in range(batch + width, rank):
        yield Tie(node.in_axis(0, dim), node.out_axis(dim - rank))


RULES: Family = {
    "Gather": OpRule(propagate_gather, shrink_gather),
    "GatherElements": OpRule(propagate_gather_elements),
    "GatherND": OpRule(propagate_gather_nd),
    "ScatterElements": OpRule(propagate_scatter_elements),
    "Scatter": OpRule(propagate_scatter_elements),
}
