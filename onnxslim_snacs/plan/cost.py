"""What a model costs as a function of what is kept: parameters, multiply-accumulates, bytes.

Every cost is a sum of products of extents, so that a plan is priced without building its model.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from math import prod

from onnx import AttributeProto, GraphProto, ModelProto, TensorProto, helper

from onnxslim_snacs.ir.keep import Extents, KeepMap
from onnxslim_snacs.ir.types import Axis
from onnxslim_snacs.model.body import bodies_of
from onnxslim_snacs.ops import OPERATORS
from onnxslim_snacs.ops.analyse import Analysis
from onnxslim_snacs.ops.node import MISFITS, OpNode
from onnxslim_snacs.ops.trained import trained_inputs

_HALF_BYTE = (TensorProto.INT4, TensorProto.UINT4, TensorProto.FLOAT4E2M1)
#: Element types of weights, whoever reads them.
_REAL = (
    TensorProto.FLOAT,
    TensorProto.FLOAT16,
    TensorProto.BFLOAT16,
    TensorProto.DOUBLE,
    TensorProto.FLOAT8E4M3FN,
    TensorProto.FLOAT8E4M3FNUZ,
    TensorProto.FLOAT8E5M2,
    TensorProto.FLOAT8E5M2FNUZ,
    TensorProto.INT8,
    TensorProto.UINT8,
    TensorProto.INT16,
    TensorProto.UINT16,
    *_HALF_BYTE,
)

#: What is counted, in the order of the fields of `Cost`.
COSTS = ("params", "macs", "bytes")


@dataclass(frozen=True, slots=True)
class Cost:
    """The price of a model.

    Attributes:
        params: stored numbers of its weights; extents, indices and single numbers are none.
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

    def value(self, keep: KeepMap | Extents) -> float:
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
        bytes: one term for each stored weight.
    """

    params: tuple[Term, ...]
    macs: tuple[Term, ...]
    bytes: tuple[Term, ...]

    def cost(self, keep: KeepMap) -> Cost:
        """The price of what is kept."""
        return Cost(*(self.of(name, keep) for name in COSTS))

    def of(self, name: str, keep: KeepMap | Extents) -> int:
        """One of the costs of what is kept: a name of `COSTS`."""
        terms: tuple[Term, ...] = getattr(self, name)
        return round(sum(term.value(keep) for term in terms))


def cost_model(analysis: Analysis) -> CostModel:
    """Read the cost terms off a model."""
    parts = tuple(analysis.parts())
    copies = {name for part in parts for name in part.copies}
    wide = {name for part in parts for node in part.nodes for name in trained_inputs(node.proto)}
    stored = [
        (Term(1.0, tuple((Axis(s.name, dim), e) for dim, e in enumerate(s.dims))), s.kind)
        for s in (s for part in parts for s in _stored_in(part.graph.graph, deep=False))
        if s.name not in copies and s.is_parameter(wide)  # copies lie in the file once
    ]
    for s in _untouched(parts):  # no slot of these can go
        if s.is_parameter(wide):
            stored.append((Term(float(prod(s.dims)), ()), s.kind))
    params = [term for term, _ in stored]
    size = [Term(term.factor * _width(kind), term.axes) for term, kind in stored]
    macs = [
        Term(term.factor / _batch(analysis), term.axes, position if part is analysis else -1)
        for part in parts
        for position, node in enumerate(part.nodes)
        for term in node_macs(node)
    ]
    return CostModel(tuple(params), tuple(macs), tuple(size))


@dataclass(frozen=True, slots=True)
class _Tensor:
    """A stored tensor: its name, its element type, its dimensions."""

    name: str
    kind: int
    dims: tuple[int, ...]

    def is_parameter(self, trained: Collection[str]) -> bool:
        """Whether it holds numbers of a weight.

        Those without an axis are settings: scales, bounds, zero points.  Wide integers are extents
        and indices, but for the biases of integer products.

        Args:
            trained: tensors that a node reads as its trained numbers.
        """
        wide = self.kind in (TensorProto.INT32, TensorProto.INT64)
        return len(self.dims) > 0 and (self.kind in _REAL or (wide and self.name in trained))


def _untouched(parts: Sequence[Analysis]) -> Iterator[_Tensor]:
    """The tensors stored in bodies of control flow that are no parts of the analysis."""
    for part in parts:
        known = {(body.position, body.attribute) for body in part.bodies}
        for position, node in enumerate(part.graph.nodes):
            for attribute, body in bodies_of(node):
                if (position, attribute) not in known:
                    yield from _stored_in(body, deep=True)


def _stored_in(graph: GraphProto, *, deep: bool) -> Iterator[_Tensor]:
    """Initializers and Constant nodes, with `deep` those of the bodies inside as well."""
    for tensor in graph.initializer:
        yield _Tensor(tensor.name, tensor.data_type, tuple(tensor.dims))
    for node in graph.node:
        if node.op_type == "Constant" and node.domain in ("", "ai.onnx"):
            yield from (_constant(node.output[0], a) for a in node.attribute)
        for _, body in bodies_of(node) if deep else ():
            yield from _stored_in(body, deep=True)


def _constant(name: str, value: AttributeProto) -> _Tensor:
    if value.HasField("t"):
        return _Tensor(name, value.t.data_type, tuple(value.t.dims))
    return _Tensor(name, TensorProto.FLOAT, (len(value.floats),) if value.floats else ())


def _width(kind: int) -> float:
    """Bytes of one number."""
    if kind in _HALF_BYTE:
        return 0.5
    return float(helper.tensor_dtype_to_np_dtype(kind).itemsize)


def _batch(analysis: Analysis) -> int:
    """Samples in the runs from which the shapes come."""
    for name in analysis.graph.inputs:
        shape, seen = analysis.facts.shape(name), analysis.facts.samples(name)
        if shape and seen and shape[0] is None:
            return max(1, seen[analysis.facts.fullest][0])
    return 1


def node_macs(node: OpNode) -> Iterator[Term]:
    """The products that one node computes; nothing for operators that multiply no weights."""
    rule = OPERATORS.get(node.op)
    if rule is None or not node.is_shaped:
        return
    try:
        products = list(rule.macs(node))
    except MISFITS:
        if node.facts.ran:  # the shapes are those of a run, and the fault is the rule's
            raise
        return
    yield from (Term(product.factor, product.axes) for product in products)


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
