"""Loops that say before they begin that they will not end."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from onnx import GraphProto, ModelProto, NodeProto, TensorProto

from onnxslim_snacs.errors import LimitExceeded
from onnxslim_snacs.model.bounds import Limits
from onnxslim_snacs.model.graph import node_constant, subgraphs
from onnxslim_snacs.model.mapped import tensor_array
from onnxslim_snacs.model.wiring import describe

#: What hands a condition on as it is.
_HANDED_ON = ("Identity", "Cast")


def check_turns(model: ModelProto, limits: Limits) -> None:
    """Count the turns of loops that nothing but their number ends.

    Exporters give loops that a condition ends the largest number that there is, so that those say
    nothing.

    Raises:
        LimitExceeded: a loop, with those around it, turns too often, or has no end.
    """
    _check(model.graph.node, _stored(model.graph), 1, limits)


def _check(
    nodes: Sequence[NodeProto], known: Mapping[str, TensorProto], around: int, limits: Limits
) -> None:
    made = {name: node for node in nodes for name in node.output if name}
    for node in nodes:
        turns = around * (_turns(node, known, made) if node.op_type == "Loop" else 1)
        if turns > limits.turns:
            often = f"{turns:,.0f} times" if turns < math.inf else "without an end"
            raise LimitExceeded(
                f"{describe(node)} turns {often}; at most {limits.turns:,} are taken"
            )
        for body in subgraphs(node):
            _check(body.node, {**known, **_stored(body)}, int(turns), limits)


def _turns(
    node: NodeProto, known: Mapping[str, TensorProto], made: Mapping[str, NodeProto]
) -> float:
    """Turns of a loop; 1 where a condition may end it, or the number is computed."""
    body = next(iter(subgraphs(node)), None)
    if body is None or not _goes_on(body):
        return 1
    count = node.input[0] if node.input else ""
    if not count:
        return math.inf if not _is_false(node, known) else 1
    number = _number(count, known, made)
    return 1 if number is None else max(1, number)


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


def _is_false(node: NodeProto, known: Mapping[str, TensorProto]) -> bool:
    stored = known.get(node.input[1]) if len(node.input) > 1 else None
    return stored is not None and not _scalar(stored)


def _number(
    name: str, known: Mapping[str, TensorProto], made: Mapping[str, NodeProto]
) -> int | None:
    if name in known:
        return _scalar(known[name])
    return _constant(made[name]) if name in made else None


def _constant(node: NodeProto) -> int | None:
    value = node_constant(node) if node.op_type == "Constant" else None
    return int(value.reshape(-1)[0]) if value is not None and value.size == 1 else None


def _scalar(tensor: TensorProto) -> int | None:
    kinds = (TensorProto.INT64, TensorProto.BOOL, TensorProto.INT32)
    if tensor.data_type not in kinds or math.prod(tensor.dims) != 1 or tensor.external_data:
        return None
    return int(tensor_array(tensor).reshape(-1)[0])


def _stored(graph: GraphProto) -> dict[str, TensorProto]:
    return {tensor.name: tensor for tensor in graph.initializer}
