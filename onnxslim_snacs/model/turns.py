"""Loops that say before they begin that they will not end."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, TensorProto

from onnxslim_snacs.errors import LimitExceeded
from onnxslim_snacs.model.bounds import Limits
from onnxslim_snacs.model.evaluate import evaluate
from onnxslim_snacs.model.graph import node_constant, subgraphs
from onnxslim_snacs.model.mapped import tensor_array
from onnxslim_snacs.model.wiring import describe

#: What hands a condition on as it is.
_HANDED_ON = ("Identity", "Cast")
#: Elements of what numbers of turns are computed from, the operators one after the other in which
#: that is done, and the operands that each may have.
_SMALL, _DEPTH, _OPERANDS = 16, 8, 4


def check_turns(model: ModelProto, limits: Limits) -> None:
    """Count the turns of loops that nothing but their number ends.

    Exporters give loops that a condition ends the largest number that there is, so that those say
    nothing.

    Raises:
        LimitExceeded: a loop, with those around it, turns too often, or has no end.
    """
    opsets = {opset.domain: opset.version for opset in model.opset_import}
    _check(model.graph.node, _Known(_stored(model.graph), {}, opsets), 1, limits)


@dataclass(frozen=True, slots=True)
class _Known:
    """What can be read in a body.

    Attributes:
        stored: tensors of the graph and of those around it.
        made: tensor -> the node that writes it.
        opsets: version of the operator set by domain.
        found: numbers that were asked for.
    """

    stored: Mapping[str, TensorProto]
    made: Mapping[str, NodeProto]
    opsets: Mapping[str, int]
    found: dict[str, NDArray[Any] | None] = field(default_factory=dict)

    def within(
        self, nodes: Sequence[NodeProto], stored: Mapping[str, TensorProto] | None = None
    ) -> _Known:
        made = {name: node for node in nodes for name in node.output if name}
        return _Known({**self.stored, **(stored or {})}, {**self.made, **made}, self.opsets)

    def number(self, name: str, depth: int = _DEPTH) -> NDArray[Any] | None:
        """A small value that is stored, or computed from such ones."""
        if name not in self.found:
            self.found[name] = self._number(name, depth)
        return self.found[name]

    def _number(self, name: str, depth: int) -> NDArray[Any] | None:
        if name in self.stored:
            return _small(self.stored[name])
        node = self.made.get(name)
        if node is None or not depth:
            return None
        if node.op_type == "Constant":
            return node_constant(node)
        values = {n: self.number(n, depth - 1) for n in node.input[:_OPERANDS] if n}
        known = {n: value for n, value in values.items() if value is not None}
        whole = len(known) == len({n for n in node.input if n})
        return evaluate(node, known, self.opsets).get(name) if known and whole else None


def _check(nodes: Sequence[NodeProto], above: _Known, around: int, limits: Limits) -> None:
    known = above.within(nodes)
    for node in nodes:
        turns = around * (_turns(node, known) if node.op_type == "Loop" else 1)
        if turns > limits.turns:
            often = f"{turns:,.0f} times" if turns < math.inf else "without an end"
            raise LimitExceeded(
                f"{describe(node)} turns {often}; at most {limits.turns:,} are taken"
            )
        for body in subgraphs(node):
            _check(body.node, known.within((), _stored(body)), int(turns), limits)


def _turns(node: NodeProto, known: _Known) -> float:
    """Turns of a loop; 1 where a condition may end it, or the number follows from an input."""
    body = next(iter(subgraphs(node)), None)
    if body is None or not _goes_on(body):
        return 1
    count = node.input[0] if node.input else ""
    if not count:
        return math.inf if not _is_false(node, known) else 1
    number = known.number(count)
    return 1 if number is None or number.size != 1 else max(1, int(number.reshape(-1)[0]))


def _goes_on(body: GraphProto) -> bool:
    """Whether the condition with which a body ends is the one that it began with, or true."""
    made = {name: node for node in body.node for name in node.output if name}
    name = body.output[0].name if body.output else ""
    while (node := made.get(name)) is not None and node.op_type in _HANDED_ON and node.input:
        name = node.input[0]
    if name in made:
        value = _constant(made[name])
        return value is not None and bool(value)
    stored = _stored(body).get(name)
    if stored is not None:
        return bool(_scalar(stored))
    return len(body.input) > 1 and name == body.input[1].name


def _is_false(node: NodeProto, known: _Known) -> bool:
    stored = known.stored.get(node.input[1]) if len(node.input) > 1 else None
    return stored is not None and not _scalar(stored)


def _constant(node: NodeProto) -> int | None:
    value = node_constant(node) if node.op_type == "Constant" else None
    return int(value.reshape(-1)[0]) if value is not None and value.size == 1 else None


def _scalar(tensor: TensorProto) -> int | None:
    value = _small(tensor)
    return int(value.reshape(-1)[0]) if value is not None and value.size == 1 else None


def _small(tensor: TensorProto) -> NDArray[Any] | None:
    kinds = (TensorProto.INT64, TensorProto.BOOL, TensorProto.INT32)
    if tensor.data_type not in kinds or math.prod(tensor.dims) > _SMALL or tensor.external_data:
        return None
    return tensor_array(tensor)


def _stored(graph: GraphProto) -> dict[str, TensorProto]:
    return {tensor.name: tensor for tensor in graph.initializer}
