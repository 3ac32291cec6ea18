"""What a model costs as a function of what is kept: parameters, multiply-accumulates, bytes.

Every cost is a sum of products of extents, so that a plan is priced without building its model.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
from onnx import GraphProto, ModelProto, TensorProto, helper

from onnxslim_snacs.ir.keep import KeepMap
from onnxslim_snacs.ir.types import Axis
from onnxslim_snacs.model.body import bodies_of
from onnxslim_snacs.ops.analyse import Analysis
from onnxslim_snacs.ops.node import OpNode

_REAL = (
    TensorProto.FLOAT,
    TensorProto.FLOAT16,
    TensorProto.BFLOAT16,
    TensorProto.DOUBLE,
    TensorProto.INT8,
    TensorProto.UINT8,
)


@dataclass(frozen=True, slots=True)
class Cost:
    """The price of a model.

    Attributes:
        params: stored numbers of its weights (int64 shape constants are none).
        macs: multiply-accumulates for one sample.
        bytes: size of its weights.
    """

    params: int
    macs: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Term:
    """A product: `factor` times the kept extents of `axes`.

    Attributes:
        factor: what does not change.
        axes: the axes that may lose slots, with their extents before.
        node: position of the node that computes it, or -1 for a stored tensor.
    """

    factor: float
    axes: tuple[tuple[Axis, int], ...]
    node: int = -1

    def value(self, keep: KeepMap) -> float:
        """The product for what is kept."""
        result = self.factor
        for axis, extent in self.axes:
            result *= keep.extent(axis, extent)
        return result


@dataclass(frozen=True, slots=True)
class CostModel:
    """The terms of a model's costs.

    Attributes:
        params: one term for each stored weight.
        macs: one term for each product that a node computes.
        bytes: one term for each stored tensor.
    """

    params: tuple[Term, ...]
    macs: tuple[Term, ...]
    bytes: tuple[Term, ...]

    def cost(self, keep: KeepMap) -> Cost:
        """The price of what is kept."""
        return Cost(
            *(round(sum(t.value(keep) for t in ts)) for ts in (self.params, self.macs, self.bytes))
        )


def cost_model(analysis: Analysis) -> CostModel:
    """Read the cost terms off a model."""
    params, size = [], []
    parts = tuple(analysis.parts())
    copies = {name for part in parts for name in part.copies}
    for tensor in (t for part in parts for t in part.graph.graph.initializer):
        if tensor.name in copies:  # stored once as long as the copies are equal
            continue
        dtype = helper.tensor_dtype_to_np_dtype(tensor.data_type)
        term = _stored(tensor.name, tuple(tensor.dims), 1.0)
        if tensor.data_type in _REAL:
            params.append(term)
        size.append(Term(term.factor * _width(tensor.data_type, dtype), term.axes))
    for node in (n for part in parts for n in part.nodes):
        value = node.facts.value(node.outputs[0]) if node.op == "Constant" else None
        if value is None or value.dtype.kind not in "fiu":
            continue
        term = _stored(node.outputs[0], value.shape, 1.0)
        if value.dtype.kind == "f" or value.itemsize == 1:
            params.append(term)
        size.append(Term(term.factor * value.itemsize, term.axes))
    for tensor in _untouched(parts):  # no slot of these can go
        term = _stored(tensor.name, tuple(tensor.dims), 1.0)
        if tensor.data_type in _REAL:
            params.append(Term(term.value(KeepMap({})), ()))
        width = _width(tensor.data_type, helper.tensor_dtype_to_np_dtype(tensor.data_type))
        size.append(Term(term.value(KeepMap({})) * width, ()))
    macs = [
        Term(term.factor / _batch(analysis), term.axes, position if part is analysis else -1)
        for part in parts
        for position, node in enumerate(part.nodes)
        for term in node_macs(node)
    ]
    return CostModel(tuple(params), tuple(macs), tuple(size))


def _untouched(parts: Sequence[Analysis]) -> Iterator[TensorProto]:
    """The tensors stored in bodies of control flow that are no parts of the analysis."""
    for part in parts:
        known = {(body.position, body.attribute) for body in part.bodies}
        for position, node in enumerate(part.graph.nodes):
            for attribute, body in bodies_of(node):
                if (position, attribute) not in known:
                    yield from _stored_in(body)


def _stored_in(graph: GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    for node in graph.node:
        yield from (a.t for a in node.attribute if node.op_type == "Constant" and a.name == "value")
        for _, body in bodies_of(node):
            yield from _stored_in(body)


def _width(kind: int, dtype: np.dtype) -> float:
    return 0.5 if kind in (TensorProto.INT4, TensorProto.UINT4) else float(dtype.itemsize)


def _stored(name: str, shape: tuple[int, ...], factor: float) -> Term:
    return Term(factor, tuple((Axis(name, dim), extent) for dim, extent in enumerate(shape)))


def _batch(analysis: Analysis) -> int:
    """Samples in the runs from which the shapes come."""
    for name in analysis.graph.inputs:
        shape, seen = analysis.facts.shape(name), analysis.facts.samples(name)
        if shape and seen and shape[0] is None:
            return max(1, seen[0][0])
    return 1


def node_macs(node: OpNode) -> Iterator[Term]:
    """The products that one node computes; nothing for operators that multiply no weights."""
    count = _COUNTERS.get(node.op)
    around = [n for n in (*node.inputs[:2], *node.outputs[:1]) if n]
    if count is None or not all(node.facts.samples(name) for name in around):
        return
    yield from count(node)


def _extents(node: OpNode, tensor: str) -> tuple[tuple[Axis, int], ...]:
    shape = node.facts.samples(tensor)[0]
    return tuple((Axis(tensor, dim), extent) for dim, extent in enumerate(shape))


def _conv(node: OpNode) -> Iterator[Term]:
    """Every output element takes (channels of its group) x taps products."""
    weight = _extents(node, node.inputs[1])
    yield Term(1.0, (*_extents(node, node.outputs[0]), *weight[1:]))


def _conv_transpose(node: OpNode) -> Iterator[Term]:
    """Every input element is spread to (filters of its group) x taps."""
    weight = _extents(node, node.inputs[1])
    yield Term(1.0, (*_extents(node, node.inputs[0]), *weight[1:]))


def _matmul(node: OpNode) -> Iterator[Term]:
    """Every output element takes one product for each contracted slot."""
    left = _extents(node, node.inputs[0])
    contracted = left[0] if node.op == "Gemm" and node.attr("transA", 0) else left[-1]
    yield Term(1.0, (*_extents(node, node.outputs[0]), contracted))


def _recurrent(node: OpNode) -> Iterator[Term]:
    """Every step takes the input weights and the recurrent weights once."""
    data = node.facts.samples(node.inputs[0])[0]
    for weight in node.inputs[1:3]:
        yield Term(float(prod(data[:2])), _extents(node, weight))


_COUNTERS = {
    "Conv": _conv,
    "com.microsoft::FusedConv": _conv,
    "ConvTranspose": _conv_transpose,
    "Gemm": _matmul,
    "MatMul": _matmul,
    "com.microsoft::FusedMatMul": _matmul,
    "LSTM": _recurrent,
    "GRU": _recurrent,
    "RNN": _recurrent,
}


def with_added(cost: Cost, cut: ModelProto, recovered: ModelProto) -> Cost:
    """The cost with the biases that recovery has added."""
    known = {tensor.name for tensor in cut.graph.initializer}
    params = size = 0
    for tensor in recovered.graph.initializer:
        if tensor.name not in known:
            count = prod(tensor.dims)
            params += count
            size += count * helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    return Cost(cost.params + params, cost.macs, cost.bytes + size)
