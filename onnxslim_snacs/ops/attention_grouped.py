"""ONNX Runtime's GroupQueryAttention: every so many query heads share one head of keys and values.

Queries (batch, time, query heads x width), keys and values (batch, time, key heads x width), past
and present keys and values (batch, key heads, time, width), output as the queries.  Heads go as a
whole; the kernels want the width as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from onnxslim_snacs.ir.types import Axis, Fact, Pin
from onnxslim_snacs.ops.attention import (
    all_pinned,
    declare_heads,
    heads_of,
    laid_out,
    scores_along,
    time_of,
)
from onnxslim_snacs.ops.common import pin_structural
from onnxslim_snacs.ops.node import Edit, Keep, OpNode, SetAttribute, known
from onnxslim_snacs.ops.products import Product, attention, extents
from onnxslim_snacs.ops.registry import Family, OpRule

_PAST, _BIAS, _SINK = (3, 4), 10, 11
#: Lengths, rotation tables and positions.
_OPERANDS = (5, 6, 7, 8, 9)


def propagate(node: OpNode) -> Iterable[Fact]:
    """Heads run through queries, keys, values and whatever is kept of them between calls."""
    counts = _counts(node)
    if counts is None:
        yield from all_pinned(node, "queries, keys and values are packed or of unknown size")
        return
    queries, keys, width = counts
    heads = heads_of(node)
    yield from declare_heads(node, queries, keys, width, width)
    yield Pin(heads.width, f"{node.op} wants the width of a head as it is")
    yield Pin(heads.value, f"{node.op} wants the width of a head as it is")
    yield from laid_out(_in_axes(node, 0), heads.queries, heads.width)
    yield from laid_out(_in_axes(node, 1), heads.keys, heads.width)
    yield from laid_out(_in_axes(node, 2), heads.keys, heads.value)
    yield from laid_out(_out_axes(node, 0), heads.queries, heads.value)
    for index, kept in zip(_PAST, (heads.width, heads.value), strict=True):
        if node.has_input(index):
            yield from laid_out(_in_axes(node, index), heads.keys, kept)
    for output, kept in ((1, heads.width), (2, heads.value)):
        if output < len(node.outputs) and node.outputs[output]:
            yield from laid_out(_out_axes(node, output), heads.keys, kept)
    yield from _operands(node, heads.queries, queries)


def _operands(node: OpNode, heads: Axis, count: int) -> Iterator[Fact]:
    for index in _OPERANDS:
        if node.has_input(index):
            yield from pin_structural(_in_axes(node, index), "lengths and positions of attention")
    if node.has_input(_BIAS):
        yield from scores_along(_in_axes(node, _BIAS), heads, count, known(node.in_shape(_BIAS)))
    for index in range(_SINK, len(node.inputs)):
        if node.has_input(index):
            reason = "one number for each head, which the rule does not follow"
            yield from (Pin(axis, reason) for axis in (*_in_axes(node, index), heads))


def _counts(node: OpNode) -> tuple[int, int, int] | None:
    """Query heads, key heads, width; None where they are packed or not known."""
    queries, keys = int(node.attr("num_heads", 0)), int(node.attr("kv_num_heads", 0))
    if not (node.has_input(1) and node.has_input(2) and queries and keys):
        return None
    q, k = known(node.in_shape(0)), known(node.in_shape(1))
    if len(q) != 3 or len(k) != 3 or q[2] is None:
        return None
    return queries, keys, q[2] // queries


def _in_axes(node: OpNode, index: int) -> list[Axis]:
    return [node.in_axis(index, d) for d in range(len(known(node.in_shape(index))))]


def _out_axes(node: OpNode, index: int) -> list[Axis]:
    return [node.out_axis(d, index) for d in range(len(known(node.out_shape(index))))]


def shrink(node: OpNode, keep: Keep) -> Iterable[Edit]:
    """Numbers of heads."""
    counts, heads = _counts(node), heads_of(node)
    if counts is None:
        return
    pairs = (("num_heads", heads.queries), ("kv_num_heads", heads.keys))
    for (name, axis), before in zip(pairs, counts, strict=False):
        left = keep.extent(axis, before)
        if left != before:
            yield SetAttribute(name, left)


def macs(node: OpNode) -> Iterable[Product]:
    """Products of queries and keys, and of the scores and the values."""
    out, heads = extents(node, node.outputs[0]), heads_of(node)
    queries = int(node.attr("num_heads", 0))
    if len(out) != 3 or not queries:
        return ()
    (_, batch), (_, time), (_, wide) = out
    # the buffer of the past may hold the present already: what comes out is as long as both
    present = node.outputs[1] if len(node.outputs) > 1 else ""
    held = extents(node, present) if present else ()
    keys = held[2][1] if len(held) == 4 else time + time_of(node, _PAST[0])
    width = wide // queries
    return attention(
        batch, (time, keys), (heads.queries, queries), (heads.width, width), (heads.value, width)
    )


RULES: Family = {"com.microsoft::GroupQueryAttention": OpRule(propagate, shrink, macs)}
