"""Quantisation by scale and zero point.

QuantizeLinear and DequantizeLinear: data, scale and zero point, which are scalars, run along
`axis`, or have a value for each block of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from onnxslim_snacs.ir.types import Axis, Fact, Pin, Sink, Tie
from onnxslim_snacs.ops import pool, reduce
from onnxslim_snacs.ops.common import broadcast, pin_structural, same_axes
from onnxslim_snacs.ops.node import OpNode, known
from onnxslim_snacs.ops.products import Weight
from onnxslim_snacs.ops.registry import Family, OpRule


def propagate_linear(node: OpNode) -> Iterable[Fact]:
    """QuantizeLinear and DequantizeLinear."""
    shape = known(node.in_shape(0))
    yield from same_axes(node, 0, range(len(shape)))
    axis = int(node.attr("axis", 1))
    for index in (1, 2):
        if not node.has_input(index):
            continue
        rank = len(known(node.in_shape(index)))
        if rank == 1 and shape:
            yield from along(node, index, node.in_axis(0, axis))
        elif rank > 1:
            yield from _blocks(node, index, axis % len(shape))


def _blocks(node: OpNode, index: int, axis: int) -> Iterator[Fact]:
    """Scales with the rank of the data: one for each block of slots on `axis`."""
    for dim in range(len(known(node.in_shape(0)))):
        if dim != axis:
            yield Tie(node.in_axis(index, dim), node.in_axis(0, dim))
            continue
        yield Pin(node.in_axis(0, dim), "quantised in blocks of neighbours")
        yield Pin(node.in_axis(index, dim), "a scale for each block of neighbours")


def along(node: OpNode, index: int, axis: Axis) -> Iterator[Fact]:
    """A scale or zero point: one for all, or one for each slot of `axis`."""
    shape = known(node.in_shape(index)) if index >= 0 and node.has_input(index) else ()
    if all(extent == 1 for extent in shape):
        return
    if len(shape) == 1:
        yield Tie(node.in_axis(index, 0), axis)
        return
    yield Pin(axis, "scales of more than one axis")
    yield from (
        Pin(node.in_axis(index, d), "scales of more than one axis") for d in range(len(shape))
    )


def propagate_dynamic(node: OpNode) -> Iterable[Fact]:
    """DynamicQuantizeLinear: the scale follows the range of the data.

    The range always holds zero, and zero becomes the zero point, so zeros are as good as nothing,
    but for the range itself, which a removed slot may have set.
    """
    rank = len(known(node.in_shape(0)))
    yield from same_axes(node, 0, range(rank))
    yield from (Sink(node.in_axis(0, dim), 0, ranged=RANGED) for dim in range(rank))


#: What a cut changes beside what it removes.
RANGED = "the scale follows the range of what is left: the steps of the quantiser have changed"


def propagate_binary(node: OpNode) -> Iterable[Fact]:
    """QLinearAdd and QLinearMul: two operands with a scale and a zero point each."""
    yield from broadcast(node, (0, 3))


def propagate_choice(node: OpNode) -> Iterable[Fact]:
    """QLinearWhere: the condition, and two operands with a scale and a zero point each."""
    yield from broadcast(node, (0, 1, 4))


def propagate_pool(node: OpNode) -> Iterable[Fact]:
    """QLinearAveragePool and QLinearGlobalAveragePool; channels may come last."""
    if not node.attr("channels_last", 0):
        yield from pool.propagate_pool(node)
        return
    last = len(known(node.in_shape(0))) - 1
    yield from same_axes(node, 0, (0, last))
    pixels = (axis for d in range(1, last) for axis in (node.in_axis(0, d), node.out_axis(d)))
    yield from pin_structural(pixels, "spatial axis")


def propagate_softmax(node: OpNode) -> Iterable[Fact]:
    """QLinearSoftmax, which says itself of which operator set it is."""
    yield from reduce.propagate_softmax(replace(node, opset=int(node.attr("opset", 13))))


def propagate_unary(node: OpNode) -> Iterable[Fact]:
    """QLinearSigmoid and QLinearLeakyRelu: data with a scale and a zero point."""
    yield from same_axes(node, 0, range(len(known(node.in_shape(0)))))


RULES: Family = {
    "QuantizeLinear": OpRule(propagate_linear, weight=Weight((1,))),
    "DequantizeLinear": OpRule(propagate_linear, weight=Weight((0, 1))),
    "com.microsoft::QuantizeLinear": OpRule(propagate_linear, weight=Weight((1,))),
    "com.microsoft::DequantizeLinear": OpRule(propagate_linear, weight=Weight((0, 1))),
    "DynamicQuantizeLinear": OpRule(propagate_dynamic),
    "com.microsoft::QLinearAdd": OpRule(propagate_binary),
    "com.microsoft::QLinearMul": OpRule(propagate_binary),
    "com.microsoft::QLinearWhere": OpRule(propagate_choice),
    "com.microsoft::QLinearAveragePool": OpRule(propagate_pool),
    "com.microsoft::QLinearGlobalAveragePool": OpRule(propagate_pool),
    "com.microsoft::QLinearSoftmax": OpRule(propagate_softmax),
    "com.microsoft::QLinearSigmoid": OpRule(propagate_unary),
    "com.microsoft::QLinearLeakyRelu": OpRule(propagate_unary),
}
