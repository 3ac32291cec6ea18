"""ONNX Runtime's Attention, which makes queries, keys and values itself.

Data (batch, time, i), weight (i, q + k + v), bias (q + k + v), where q = k = heads x width and v =
heads x value width; output (batch, time, v).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from onnxslim_snacs.ir.types import Axis, Extent, Fact, Pin, Sink, Split, Tie, virtual_axis
from onnxslim_snacs.ops.common import pin_structural
from onnxslim_snacs.ops.node import Edit, Keep, OpNode, SetAttribute, arange, known
from onnxslim_snacs.ops.products import Product, Weight, extents
from onnxslim_snacs.ops.registry import Family, OpRule


def propagate(node: OpNode) -> Iterable[Fact]:
    """Heads and widths run through the three parts of weight and bias."""
    parts, packed = _parts(node), node.in_axis(1, 1)
    data, out = node.in_axis(0, 2), node.out_axis(2)
    yield Tie(data, node.in_axis(1, 0))
    yield Sink(data, 0, node.in_axis(1, 0), 1, packed, out)
    for axis in (node.in_axis(0, 0), node.in_axis(0, 1), node.out_axis(0), node.out_axis(1)):
        yield from pin_structural([axis], "batch or time of attention")
    if node.has_input(2):
        yield Tie(node.in_axis(2, 0), packed)
    if parts is None or _has_past(node):
        yield from _pinned(node, "attention with a past, a rotation or unknown sizes")
        return
    yield from _heads(node, parts)
    yield Tie(out, _part(node, 2))
    if node.has_input(5):
        yield from _bias(node)
    if node.has_input(3):
        mask = (node.in_axis(3, d) for d in range(len(known(node.in_shape(3)))))
        yield from pin_structural(mask, "batch or time of attention")
    # zeros in weight and bias are zeros in queries and keys, which are summed over
    yield Sink(packed, 1)
    if node.has_input(2):
        yield Sink(node.in_axis(2, 0), 2)


def _heads(node: OpNode, parts: tuple[int, int, int]) -> Iterator[Fact]:
    count, start = int(node.attr("num_heads")), 0
    heads, widths = virtual_axis(node.key, "heads"), [virtual_axis(node.key, "width")] * 2
    widths.append(virtual_axis(node.key, "value width"))
    yield Extent(heads, count)
    for number, extent in enumerate(parts):
        yield Extent(_part(node, number), extent)
        yield Extent(widths[number], extent // count)
        yield Tie(node.in_axis(1, 1), _part(node, number), arange(start, start + extent))
        yield Split(_part(node, number), (heads, widths[number]))
        start += extent


def _bias(node: OpNode) -> Iterator[Fact]:
    """A bias of the scores (batch or 1, heads or 1, time, time)."""
    if known(node.in_shape(5))[1] != 1:
        yield Tie(node.in_axis(5, 1), virtual_axis(node.key, "heads"))
    times = (node.in_axis(5, d) for d in (0, 2, 3))
    yield from pin_structural(times, "batch or time of attention")


def _part(node: OpNode, number: int) -> Axis:
    return virtual_axis(node.key, ("queries", "keys", "values")[number])


def _parts(node: OpNode) -> tuple[int, int, int] | None:
    """Extents of queries, keys and values; None if they are not known."""
    given = node.attr("qkv_hidden_sizes")
    if given:
        return int(given[0]), int(given[1]), int(given[2])
    whole = known(node.in_shape(1))[1]
    return None if whole is None else (whole // 3, whole // 3, whole // 3)


def _has_past(node: OpNode) -> bool:
    present = len(node.outputs) > 1 and node.outputs[1] != ""
    return present or node.has_input(4) or bool(node.attr("do_rotary", 0))


def _pinned(node: OpNode, reason: str) -> Iterator[Pin]:
    yield Pin(node.in_axis(1, 1), reason)
    yield Pin(node.out_axis(2), reason)
    for index in range(3, len(node.inputs)):
        if node.has_input(index):
            dims = range(len(known(node.in_shape(index))))
            yield from (Pin(node.in_axis(index, d), reason) for d in dims)
    if len(node.outputs) > 1 and node.outputs[1]:
        dims = range(len(known(node.out_shape(1))))
        yield from (Pin(node.out_axis(d, 1), reason) for d in dims)


def shrink(node: OpNode, keep: Keep) -> Iterable[Edit]:
    """Number of heads, extents of the three parts, and the scale before it follows the width."""
    parts, count = _parts(node), int(node.attr("num_heads"))
    if parts is None:
        return
    heads = keep.extent(virtual_axis(node.key, "heads"), count)
    if heads != count:
        yield SetAttribute("num_heads", heads)
    left = [keep.extent(_part(node, k), extent) for k, extent in enumerate(parts)]
    if left != list(parts) and (node.attr("qkv_hidden_sizes") or len(set(left)) > 1):
        yield SetAttribute("qkv_hidden_sizes", left)
    width = parts[0] // count
    kept = keep.extent(virtual_axis(node.key, "width"), width)
    if kept != width and not node.attr("scale", 0.0):
        yield SetAttribute("scale", width**-0.5)


def macs(node: OpNode) -> Iterable[Product]:
    """Products with the weight, of queries and keys, and of the scores and the values."""
    data, weight = extents(node, node.inputs[0]), extents(node, node.inputs[1])
    parts = _parts(node)
    if len(data) != 3 or not weight or parts is None:
        return
    (_, batch), (_, time), feature = data
    yield Product(float(batch * time), (feature, weight[1]))
    past = extents(node, node.inputs[4]) if node.has_input(4) else ()
    scores = float(batch * time * (time + (past[3][1] if len(past) == 5 else 0)))
    yield Product(scores, ((_part(node, 0), parts[0]),))
    yield Product(scores, ((_part(node, 2), parts[2]),))


RULES: Family = {
    "com.microsoft::Attention": OpRule(propagate, shrink, macs, Weight((1, 2))),
}
