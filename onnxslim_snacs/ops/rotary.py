"""Rotary embedding: the two slots of a pair are turned by an angle, each head alike.

Data (batch, time, heads x width) or (batch, heads, time, width); tables of cosines and sines (...,
width / 2).  Slot j makes a pair with slot j + width / 2, or, interleaved, 2 j with 2 j + 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from onnxslim_snacs.ir.types import Axis, Extent, Fact, Pin, Split, Tie, virtual_axis
from onnxslim_snacs.ops.common import pin_structural, same_axes
from onnxslim_snacs.ops.node import Edit, Keep, OpNode, SetAttribute, arange, known
from onnxslim_snacs.ops.registry import Family, OpRule


def propagate(node: OpNode) -> Iterable[Fact]:
    """Heads pass; pairs go together, with their column of the tables."""
    rank, tables = len(known(node.in_shape(0))), _tables(node)
    yield from same_axes(node, 0, range(rank))
    times = [0, 1] if rank == 3 else [0, 2]
    yield from pin_structural((node.in_axis(0, d) for d in times), "batch or time of attention")
    for index in range(1, len(node.inputs)):
        last = len(known(node.in_shape(index))) - (index in tables) if node.has_input(index) else 0
        yield from pin_structural((node.in_axis(index, d) for d in range(last)), "positions")
    counts = _counts(node)
    width = _width(node)
    if counts is None:
        yield from (Pin(node.in_axis(0, d), "of unknown size") for d in range(1, rank))
        yield from (Pin(node.in_axis(index, -1), "of unknown size") for index in tables)
        return
    if rank == 3:
        heads = _heads(node)
        yield Extent(heads, counts[0])
        yield Extent(width, counts[1])
        yield Split(node.in_axis(0, 2), (heads, width))
    yield from _pairs(node, width, counts[1])


def _pairs(node: OpNode, width: Axis, extent: int) -> Iterator[Fact]:
    index = arange(0, extent)
    pair = index // 2 if node.attr("interleaved", 0) else index % (extent // 2)
    partial = node.attr("rotary_embedding_dim", 0) not in (0, extent)
    for table in _tables(node):
        if partial:
            yield Pin(node.in_axis(table, -1), "only part of the width is turned")
        else:
            yield Tie(width, node.in_axis(table, -1), index, pair)
    if partial:
        yield Pin(width, "only part of the width is turned")


def _tables(node: OpNode) -> tuple[int, int]:
    return (1, 2) if node.op == "RotaryEmbedding" else (2, 3)


def _heads(node: OpNode) -> Axis:
    flat = len(known(node.in_shape(0))) == 3
    return virtual_axis(node.key, "heads") if flat else node.in_axis(0, 1)


def _width(node: OpNode) -> Axis:
    flat = len(known(node.in_shape(0))) == 3
    return virtual_axis(node.key, "width") if flat else node.in_axis(0, 3)


def _counts(node: OpNode) -> tuple[int, int] | None:
    """Heads and width; None where they are not known."""
    shape = known(node.in_shape(0))
    half = known(node.in_shape(_tables(node)[0]))[-1]
    if len(shape) == 4:
        return None if shape[1] is None or shape[3] is None else (shape[1], shape[3])
    hidden, heads = shape[-1], int(node.attr("num_heads", 0))
    if hidden is None or half is None:
        return None
    width = hidden // heads if heads else 2 * half
    return hidden // width, width


def shrink(node: OpNode, keep: Keep) -> Iterable[Edit]:
    """The number of heads and the turned width, where they are given."""
    counts = _counts(node)
    if counts is None:
        return
    for name, axis, before in (
        ("num_heads", _heads(node), counts[0]),
        ("rotary_embedding_dim", _width(node), counts[1]),
    ):
        left = keep.extent(axis, before)
        if node.attr(name, 0) and left != before:
            yield SetAttribute(name, left)


RULES: Family = {
    "RotaryEmbedding": OpRule(propagate, shrink),
    "com.microsoft::RotaryEmbedding": OpRule(propagate, shrink),
}
