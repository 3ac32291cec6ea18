"""Integer products, read as the float operator on their data, weight and bias.

A removed slot has to count as zero where it is summed over, and integer zero means zero only where
the zero point is 0: the proof's zeros go onto whichever operand has that, mostly the weight.  Where
neither has, the zero point itself is put in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto

from onnxslim_snacs.ir.types import Fact, Pin, Sink
from onnxslim_snacs.ops import conv, matmul
from onnxslim_snacs.ops.node import OpNode, known
from onnxslim_snacs.ops.products import Product, Weight, convolution
from onnxslim_snacs.ops.quantize import RANGED, along
from onnxslim_snacs.ops.registry import Family, Macs, OpRule


@dataclass(frozen=True, slots=True)
class Layout:
    """Where an integer product has its operands.

    Attributes:
        read: the rule of the float operator that it is read as.
        macs: the products of that operator.
        operands: positions of data, weight and bias.
        data: positions of the data's scale and zero point, -1 where there is none.
        weight: the same for the weight.
        out: the same for the output.
    """

    read: Callable[[OpNode], Iterable[Fact]]
    macs: Macs
    operands: tuple[int, ...]
    data: tuple[int, int]
    weight: tuple[int, int]
    out: tuple[int, int] = (-1, -1)


#: DynamicQuantizeMatMul.
_DYNAMIC = Layout(matmul.propagate_matmul, matmul.macs_matmul, (0, 1), (-1, -1), (2, 3))


_LAYOUTS = {
    "ConvInteger": Layout(conv.propagate_conv, convolution, (0, 1), (-1, 2), (-1, 3)),
    "MatMulInteger": Layout(matmul.propagate_matmul, matmul.macs_matmul, (0, 1), (-1, 2), (-1, 3)),
    "QLinearConv": Layout(conv.propagate_conv, convolution, (0, 3, 8), (1, 2), (4, 5), (6, 7)),
    "QLinearMatMul": Layout(
        matmul.propagate_matmul, matmul.macs_matmul, (0, 3), (1, 2), (4, 5), (6, 7)
    ),
    "com.microsoft::QGemm": Layout(
        matmul.propagate_gemm, matmul.macs_gemm, (0, 3, 6), (1, 2), (4, 5), (7, 8)
    ),
    "com.microsoft::MatMulIntegerToFloat": Layout(
        matmul.propagate_matmul, matmul.macs_matmul, (0, 1, 6), (2, 4), (3, 5)
    ),
}


def propagate_product(node: OpNode) -> Iterable[Fact]:
    """An integer product, read as a float one."""
    layout = _LAYOUTS[node.op]
    plain = _as_float(node, layout.operands)
    sinks: list[Sink] = []
    for fact in layout.read(plain):
        if isinstance(fact, Sink):
            sinks.append(fact)
        else:
            yield fact
    for sink in sinks:
        yield from _summed(node, sink, layout)
    yield from _scales(node, layout)


def macs_product(node: OpNode) -> Iterable[Product]:
    """Products of the float operator that it is read as."""
    layout = _LAYOUTS[node.op]
    return layout.macs(_as_float(node, layout.operands))


def _as_float(node: OpNode, operands: Sequence[int]) -> OpNode:
    """The same node with data, weight and bias alone among its inputs."""
    proto = NodeProto()
    proto.CopyFrom(node.proto)
    del proto.input[:]
    proto.input.extend(node.inputs[k] for k in operands if node.has_input(k))
    return OpNode(node.key, proto, node.facts, node.opset, node.allow_inexact)


def _summed(node: OpNode, sink: Sink, layout: Layout) -> Iterator[Fact]:
    """Zeros go where the zero point is 0; wherever they go, the weight makes the outputs."""
    data, weight = layout.operands[sink.input], sink.weight_input
    weight = None if weight is None else layout.operands[weight]
    points = {layout.operands[0]: layout.data[1], layout.operands[1]: layout.weight[1]}
    moved = replace(sink, input=data, weight_input=weight)
    if weight is not None and _is_zero(node, points[weight]):
        yield replace(moved, on_weight=True)
    elif _is_zero(node, points[data]):
        yield moved
    elif _just_quantised(node, data, points[data]):  # zeros are in the data already
        yield replace(moved, on_weight=True)
    elif _is_one(node, points[data]):
        yield replace(moved, zero=node.inputs[points[data]])
    elif weight is not None and _is_one(node, points[weight]):
        yield replace(moved, on_weight=True, zero=node.inputs[points[weight]])
    else:
        yield Pin(sink.axis, "neither operand has one zero point for all")
        yield moved


def real_weight(node: OpNode, index: int, axis: int) -> NDArray[Any] | None:
    """(number - zero point) x scale in the shape of the numbers; these two may lie along `axis`."""
    layout = _LAYOUTS.get(node.op) or _DYNAMIC
    value, operands = node.in_value(index), layout.operands[:2]
    if value is None or index not in operands:
        return None
    scale, point = (layout.data, layout.weight)[operands.index(index)]
    result: NDArray[Any] = value.astype(np.float32)
    zero = _constant(node, point)
    if zero is not None:
        result = result - _lyingalong(zero, axis, result.ndim)
    factor = _constant(node, scale) if scale >= 0 else _scale_behind(node, result.shape[axis])
    return result if factor is None else result * _lyingalong(factor, axis, result.ndim)


def _constant(node: OpNode, index: int) -> NDArray[Any] | None:
    return node.in_value(index) if index >= 0 else None


def _lyingalong(vector: NDArray[Any], axis: int, rank: int) -> NDArray[Any]:
    return vector.astype(np.float32).reshape([-1 if d == axis else 1 for d in range(rank)])


def _scale_behind(node: OpNode, outputs: int) -> NDArray[Any] | None:
    """A scale for each output channel by which integer sums are multiplied in the end."""
    graph, tensor = node.facts.graph, node.outputs[0]
    for _ in range(2):  # Cast, then Mul
        readers = graph.consumers.get(tensor, ())
        if len(readers) != 1:
            return None
        reader = graph.nodes[readers[0]]
        if reader.op_type == "Cast":
            tensor = reader.output[0]
            continue
        factors = [name for name in reader.input if name != tensor]
        made = graph.producer.get(factors[0]) if factors else None
        if made is not None and graph.nodes[made].op_type == "Mul":
            factors = list(graph.nodes[made].input)
        values = (node.facts.value(name) for name in factors if reader.op_type == "Mul")
        return next((v.reshape(-1) for v in values if v is not None and v.size == outputs), None)
    return None


def _is_zero(node: OpNode, index: int) -> bool:
    if index < 0 or not node.has_input(index):
        return True
    value = node.in_value(index)
    return value is not None and not value.any()


def _is_one(node: OpNode, index: int) -> bool:
    """Whether a zero point is a single number, whatever it is."""
    return set(known(node.in_shape(index))) <= {1}


def _just_quantised(node: OpNode, data: int, point: int) -> bool:
    """Whether DynamicQuantizeLinear, which sees to the zeros, makes data and zero point."""
    graph = node.facts.graph
    makers = {graph.producer.get(node.inputs[k]) for k in (data, point)}
    maker = makers.pop() if len(makers) == 1 else None
    return maker is not None and graph.nodes[maker].op_type == "DynamicQuantizeLinear"


def _scales(node: OpNode, layout: Layout) -> Iterator[Fact]:
    """Scales and zero points of the operands, along their output axes."""
    data, weight = layout.operands[:2]
    convolution = layout.read is conv.propagate_conv
    if layout.read is matmul.propagate_matmul and len(layout.operands) > 2:
        yield from along(node, layout.operands[2], node.out_axis(-1))
    for places, axis in (
        (layout.data, node.in_axis(data, 1 if convolution else _free(node, data))),
        (layout.weight, node.in_axis(weight, 0 if convolution else _free(node, weight))),
        (layout.out, node.out_axis(1 if convolution else -1)),
    ):
        for index in places:
            yield from along(node, index, axis)


def _free(node: OpNode, operand: int) -> int:
    """The axis of a matrix operand that is not summed over."""
    first = operand == 0
    transposed = node.attr("transA" if first else "transB", 0)
    rank = len(known(node.in_shape(operand)))
    return -1 if rank == 1 or first == bool(transposed) else -2


def propagate_dynamic_matmul(node: OpNode) -> Iterable[Fact]:
    """DynamicQuantizeMatMul: float data, quantised on the way; integer weight, its scale, bias."""
    for fact in matmul.propagate_matmul(_as_float(node, (0, 1))):
        yield replace(fact, ranged=RANGED) if isinstance(fact, Sink) else fact
    for index in (2, 3, 4):
        yield from along(node, index, node.in_axis(1, -1))


def macs_dynamic_matmul(node: OpNode) -> Iterable[Product]:
    """Products of DynamicQuantizeMatMul."""
    return matmul.macs_matmul(_as_float(node, (0, 1)))


RULES: Family = {
    "ConvInteger": OpRule(
        propagate_product, conv.shrink, macs_product, Weight((1,), real=real_weight)
    ),
    "QLinearConv": OpRule(
        propagate_product, conv.shrink, macs_product, Weight((1, 3, 4, 6, 8), real=real_weight)
    ),
    "MatMulInteger": OpRule(
        propagate_product, macs=macs_product, weight=Weight((0, 1), real=real_weight)
    ),
    "QLinearMatMul": OpRule(
        propagate_product, macs=macs_product, weight=Weight((0, 1, 3, 4, 6), real=real_weight)
    ),
    "com.microsoft::QGemm": OpRule(
        propagate_product, macs=macs_product, weight=Weight((0, 1, 3, 4, 6, 7), real=real_weight)
    ),
    "com.microsoft::MatMulIntegerToFloat": OpRule(
        propagate_product, macs=macs_product, weight=Weight((0, 1, 2, 3, 6), real=real_weight)
    ),
    "com.microsoft::DynamicQuantizeMatMul": OpRule(
        propagate_dynamic_matmul,
        macs=macs_dynamic_matmul,
        weight=Weight((1, 2, 4), real=real_weight),
    ),
}
