"""Attention as one operator: heads, and the widths of queries and keys and of values.

Queries are (batch, time, heads x width) or (batch, heads, time, width), keys and values likewise
with as many heads or fewer (every so many query heads share one), the output as the queries with
the width of the values.  The scores sum over the width of queries and keys; their scale, which
follows from that width where it is not given, is written down when the width shrinks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from onnxslim_snacs.ir.types import Axis, Extent, Fact, Pin, Sink, Split, Tie, virtual_axis
from onnxslim_snacs.model.sizes import Dim
from onnxslim_snacs.ops.common import pin_structural
from onnxslim_snacs.ops.node import Edit, Keep, OpNode, SetAttribute, arange, known
from onnxslim_snacs.ops.products import Product, Weight, extents
from onnxslim_snacs.ops.products import attention as attention_macs
from onnxslim_snacs.ops.registry import Family, OpRule

_TIME = "batch or time of attention"


@dataclass(frozen=True, slots=True)
class Heads:
    """The axes of an attention, none of which need be the axis of a tensor.

    Attributes:
        queries: query heads.
        keys: heads of keys and values.
        width: width of queries and keys.
        value: width of values.
    """

    queries: Axis
    keys: Axis
    width: Axis
    value: Axis


def heads_of(node: OpNode) -> Heads:
    """The virtual axes of an attention node."""
    roles = ("query heads", "key heads", "width", "value width")
    return Heads(*(virtual_axis(node.key, role) for role in roles))


def declare_heads(node: OpNode, queries: int, keys: int, width: int, value: int) -> Iterator[Fact]:
    """How many heads there are, how wide they are, and how the query heads share the others."""
    heads = heads_of(node)
    yield Extent(heads.queries, queries)
    yield Extent(heads.keys, keys)
    yield Extent(heads.width, width)
    yield Extent(heads.value, value)
    if queries == keys:
        yield Tie(heads.queries, heads.keys)
        return
    shared = virtual_axis(node.key, "query heads that share keys")
    yield Extent(shared, queries // keys)
    yield Split(heads.queries, (heads.keys, shared))


def laid_out(axes: list[Axis], heads: Axis, width: Axis) -> Iterator[Fact]:
    """A tensor (batch, time, heads x width) or (batch, heads, time, width)."""
    if len(axes) == 3:
        yield Split(axes[2], (heads, width))
        yield from pin_structural(axes[:2], _TIME)
        return
    yield Tie(axes[1], heads)
    yield Tie(axes[3], width)
    yield from pin_structural((axes[0], axes[2]), _TIME)


def scores_along(
    axes: list[Axis], heads: Axis, count: int, extents: tuple[Dim, ...]
) -> Iterator[Fact]:
    """A mask, bias or table of scores, broadcast to (batch, heads, time, time)."""
    for back, axis in enumerate(reversed(axes)):
        if back == 2 and extents[-3] == count:
            yield Tie(axis, heads)
        elif back != 2:
            yield from pin_structural([axis], _TIME)


def _in_axes(node: OpNode, index: int) -> list[Axis]:
    return [node.in_axis(index, d) for d in range(len(known(node.in_shape(index))))]


def _out_axes(node: OpNode, index: int) -> list[Axis]:
    return [node.out_axis(d, index) for d in range(len(known(node.out_shape(index))))]


def all_pinned(node: OpNode, reason: str) -> Iterator[Pin]:
    """Pins on every axis of every input and output."""
    for index in range(len(node.inputs)):
        if node.has_input(index):
            yield from (Pin(axis, reason) for axis in _in_axes(node, index))
    for index, name in enumerate(node.outputs):
        if name:
            yield from (Pin(axis, reason) for axis in _out_axes(node, index))


@dataclass(frozen=True, slots=True)
class Form:
    """Where the two attentions with separate queries, keys and values differ.

    Attributes:
        bias: position of the vector that is added to queries, keys and values, -1 for none.
        scores: positions of masks that are broadcast to the scores.
        past: positions of past keys and past values (batch, heads, time, width).
        queries: attribute that counts the query heads.
        keys: attribute that counts the heads of keys and values.
    """

    bias: int
    scores: int
    past: tuple[int, int]
    queries: str
    keys: str


_FORMS = {
    "Attention": Form(-1, 3, (4, 5), "q_num_heads", "kv_num_heads"),
    "com.microsoft::MultiHeadAttention": Form(3, 5, (6, 7), "num_heads", "num_heads"),
}


def _counts(node: OpNode) -> tuple[int, int, int, int] | None:
    """Query heads, key heads, width, value width; None where one is not known."""
    form = _FORMS[node.op]
    if not (node.has_input(1) and node.has_input(2)):
        return None
    q, k, v = (known(node.in_shape(index)) for index in range(3))
    if {len(q), len(k), len(v)} - {3, 4} or None in (q[-1], k[-1], v[-1]):
        return None
    heads = q[1] if len(q) == 4 else node.attr(form.queries)
    shared = k[1] if len(k) == 4 else node.attr(form.keys)
    if not heads or not shared or v[-1] is None or q[-1] is None:
        return None
    width = q[-1] if len(q) == 4 else q[-1] // heads
    return int(heads), int(shared), width, v[-1] if len(v) == 4 else v[-1] // shared


def propagate(node: OpNode) -> Iterable[Fact]:
    """Attention, and ONNX Runtime's MultiHeadAttention."""
    form, counts = _FORMS[node.op], _counts(node)
    if counts is None:
        yield from all_pinned(node, "queries, keys and values are packed or of unknown size")
        return
    heads = heads_of(node)
    yield from declare_heads(node, *counts)
    key, value = (heads.keys, heads.width), (heads.keys, heads.value)
    query = _in_axes(node, 0)
    yield from laid_out(query, heads.queries, heads.width)
    yield from laid_out(_in_axes(node, 1), *key)
    yield from laid_out(_in_axes(node, 2), *value)
    yield from laid_out(_out_axes(node, 0), heads.queries, heads.value)
    yield Sink(query[-1], 0, node.in_axis(1, -1), 1)
    for index, pair in zip(form.past, (key, value), strict=True):
        if node.has_input(index):
            yield from laid_out(_in_axes(node, index), *pair)
    for output, pair in ((1, key), (2, value)):
        if len(node.outputs) > output and node.outputs[output]:
            yield from laid_out(_out_axes(node, output), *pair)
    if len(node.outputs) > 3 and node.outputs[3]:
        table = _out_axes(node, 3)
        yield from scores_along(table, heads.queries, counts[0], known(node.out_shape(3)))
    if node.has_input(form.scores):
        extents = known(node.in_shape(form.scores))
        yield from scores_along(_in_axes(node, form.scores), heads.queries, counts[0], extents)
    if form.bias >= 0 and node.has_input(form.bias):
        yield from _bias(node, form.bias)


def _bias(node: OpNode, index: int) -> Iterator[Fact]:
    """A vector for queries, keys and values, one after the other; it joins in the sum."""
    bias, start = node.in_axis(index, 0), 0
    for operand in range(3):
        axis, extent = node.in_axis(operand, -1), known(node.in_shape(operand))[-1]
        if len(known(node.in_shape(operand))) != 3 or extent is None:
            yield Pin(bias, "the bias does not lie along the keys")
            return
        yield Tie(bias, axis, arange(start, start + extent))
        start += extent
    yield Sink(bias, index)


def shrink(node: OpNode, keep: Keep) -> Iterable[Edit]:
    """Numbers of heads; the scale, before it follows the width."""
    form, counts = _FORMS[node.op], _counts(node)
    if counts is None:
        return
    heads = heads_of(node)
    for name, axis, before in (
        (form.queries, heads.queries, counts[0]),
        (form.keys, heads.keys, counts[1]),
    ):
        if node.attr(name) and keep.extent(axis, before) != before:
            yield SetAttribute(name, keep.extent(axis, before))
    yield from _scale(node, keep, heads, counts[2])


def _scale(node: OpNode, keep: Keep, heads: Heads, width: int) -> Iterator[Edit]:
    if not node.attr("scale", 0.0) and keep.extent(heads.width, width) != width:
        yield SetAttribute("scale", width**-0.5)


def macs(node: OpNode) -> Iterable[Product]:
    """Products of queries and keys, and of the scores and the values."""
    form, counts = _FORMS[node.op], _counts(node)
    if counts is None:
        return packed_macs(node, int(node.attr(form.queries) or 0))
    heads, (queries, _, width, value) = heads_of(node), counts
    times = (time_of(node, 0), time_of(node, 1) + time_of(node, form.past[0]))
    batch = extents(node, node.inputs[0])[0][1] if times[0] else 0
    return attention_macs(
        batch, times, (heads.queries, queries), (heads.width, width), (heads.value, value)
    )


def time_of(node: OpNode, index: int) -> int:
    """Time steps of an input (batch, time, features) or (batch, heads, time, width)."""
    around = extents(node, node.inputs[index]) if node.has_input(index) else ()
    return around[len(around) - 2][1] if len(around) in (3, 4) else 0


def packed_macs(node: OpNode, heads: int) -> Iterable[Product]:
    """Queries, keys and values in one operand or two, none of which can lose anything.

    The output (batch, time, heads x width) says how wide they are; packed keys and values are
    (batch, time, heads, 2, width), and where there are none the keys lie beside the queries.
    """
    out = extents(node, node.outputs[0])
    keys = extents(node, node.inputs[1]) if node.has_input(1) else ()
    if len(out) != 3 or not heads:
        return
    (_, batch), (_, time), (_, wide) = out
    yield Product(2.0 * batch * time * (keys[1][1] if len(keys) > 1 else time) * wide, ())


_WEIGHTS = {"com.microsoft::MultiHeadAttention": Weight((3,))}
RULES: Family = {op: OpRule(propagate, shrink, macs, _WEIGHTS.get(op)) for op in _FORMS}
