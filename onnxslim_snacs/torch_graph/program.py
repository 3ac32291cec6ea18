"""A graph made ready to be run: for every node the function that runs it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from onnx import AttributeProto, GraphProto, NodeProto, helper, numpy_helper

from onnxslim_snacs.errors import InputRefused, foreign
from onnxslim_snacs.model.body import bodies_of
from onnxslim_snacs.model.graph import captured
from onnxslim_snacs.torch_graph.families import Operator
from onnxslim_snacs.torch_graph.holdings import Stored, is_constant, to_tensor

#: Name of a stored value in its graph -> the value.
_Local = Mapping[str, Stored]


@dataclass(frozen=True, slots=True)
class Step:
    """A node made ready.

    Attributes:
        position: among the nodes of its graph.
        op: its operator, with the domain unless it is ONNX's own.
        name: for messages.
        opset: version of its operator set.
        run: what runs it.
        inputs: names; "" for one that is left out.
        outputs: names; "" for one that is left out.
        attributes: by name, tensors as torch's.
        kinds: element types of inputs that are stored, by position.
        bodies: by attribute.
        done: names that nobody reads after this step.
    """

    position: int
    op: str
    name: str
    opset: int
    run: Operator
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    kinds: Mapping[int, int]
    bodies: Mapping[str, Program]
    done: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Program:
    """A graph, or a body, made ready.

    Attributes:
        inputs: names of what goes in.
        outputs: names of what comes out.
        stored: name -> key of the stored value.
        steps: in order.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    stored: Mapping[str, str]
    steps: tuple[Step, ...]


def make_program(
    graph: GraphProto,
    opsets: Mapping[str, int],
    stored: Mapping[int, _Local],
    precision: str,
    around: Mapping[str, int] | None = None,
) -> Program:
    """Make a graph ready.

    Args:
        graph: the graph or body.
        opsets: versions by domain.
        stored: id of a graph -> what it stores.
        precision: of attributes that are tensors.
        around: element types of what the graphs around it store.

    Raises:
        InputRefused: an operator is missing; the message names the node.
    """
    from onnxslim_snacs.torch_graph.operators import OPERATORS  # many files

    own = stored.get(id(graph), {})
    kinds = {**(around or {}), **{name: value.kind for name, value in own.items()}}
    nodes = [(k, node) for k, node in enumerate(graph.node) if not is_constant(node)]
    kept = {*own, *(v.name for v in graph.output)}
    last: dict[str, int] = {}
    for k, node in nodes:
        for name in (*node.input, *node.output, *captured(node)):
            last[name] = k
    done: dict[int, list[str]] = {}
    for name, k in last.items():
        if name and name not in kept:
            done.setdefault(k, []).append(name)
    steps = []
    for k, node in nodes:
        op = _op(node)
        name = node.name or next((o for o in node.output if o), str(k))
        if op not in OPERATORS:
            raise InputRefused(
                f"torch does not run operator {foreign(op)} (node {foreign(name)}): a method that "
                "needs gradients cannot be used on this model"
            )
        steps.append(
            Step(
                position=k,
                op=op,
                name=name,
                opset=opsets.get("" if node.domain == "ai.onnx" else node.domain, 1),
                run=OPERATORS[op],
                inputs=tuple(node.input),
                outputs=tuple(node.output),
                attributes=_attributes(node, precision),
                kinds={i: kinds[n] for i, n in enumerate(node.input) if n in kinds},
                bodies={
                    attribute: make_program(body, opsets, stored, precision, kinds)
                    for attribute, body in bodies_of(node)
                },
                done=tuple(done.get(k, ())),
            )
        )
    return Program(
        inputs=tuple(v.name for v in graph.input),
        outputs=tuple(v.name for v in graph.output),
        stored={name: value.key for name, value in own.items()},
        steps=tuple(steps),
    )


def _op(node: NodeProto) -> str:
    return node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}::{node.op_type}"


def _attributes(node: NodeProto, precision: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for attribute in node.attribute:
        if attribute.type in (AttributeProto.GRAPH, AttributeProto.GRAPHS):
            continue
        value = helper.get_attribute_value(attribute)
        if attribute.type == AttributeProto.TENSOR:
            value = to_tensor(numpy_helper.to_array(value), precision)
        elif attribute.type == AttributeProto.STRING:
            value = value.decode()
        elif attribute.type in (AttributeProto.INTS, AttributeProto.FLOATS):
            value = list(value)
        found[attribute.name] = value
    return found
