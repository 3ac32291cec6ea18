"""Bodies of control flow as models of their own, and back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, ValueInfoProto, helper

from onnxslim_snacs.model.graph import ModelGraph, captured
from onnxslim_snacs.model.session import SessionConfig, create_session
from onnxslim_snacs.model.shell import shell

Feeds = Mapping[str, NDArray[Any]]


def bodies_of(node: NodeProto) -> Iterator[tuple[str, GraphProto]]:
    """The bodies of a node by the name of their attribute."""
    for attribute in node.attribute:
        if attribute.type == AttributeProto.GRAPH:
            yield attribute.name, attribute.g


def body_model(model: ModelProto, body: GraphProto, feeds: Feeds) -> ModelProto:
    """A body as a model, with what it captures as inputs behind its own.

    Args:
        model: the model around it.
        body: the body.
        feeds: a value of each of its inputs and of each tensor that it captures.
    """
    whole = shell(model, "graph")
    whole.graph.CopyFrom(body)
    own = [info.name for info in body.input]
    del whole.graph.input[:]
    for name in (*own, *(name for name in feeds if name not in own)):
        whole.graph.input.append(_input(name, feeds[name]))
    return whole


def _input(name: str, value: Any) -> ValueInfoProto:
    """The declaration of a tensor, or of a sequence that holds some."""
    if isinstance(value, list):
        kind = helper.np_dtype_to_tensor_dtype(value[0].dtype)
        return helper.make_tensor_sequence_value_info(name, kind, None)
    kind = helper.np_dtype_to_tensor_dtype(value.dtype)
    return helper.make_tensor_value_info(name, kind, [None] * value.ndim)


def put_body(node: NodeProto, attribute: str, model: ModelProto) -> None:
    """Put a body that has been worked on as a model back into its node, which is changed."""
    body = next(a.g for a in node.attribute if a.name == attribute)
    fresh = GraphProto()
    fresh.CopyFrom(model.graph)
    del fresh.input[:]
    fresh.input.extend(body.input)
    body.CopyFrom(fresh)


def find_body(graph: GraphProto, node: NodeProto, attribute: str) -> GraphProto | None:
    """The body that stands in another graph where the node stood in its own."""
    for other in graph.node:
        if list(other.output) == list(node.output):
            return dict(bodies_of(other)).get(attribute)
    return None


def read_around(graph: ModelGraph, feeds: Sequence[Feeds]) -> list[Feeds]:
    """Values of all tensors that control-flow nodes and their bodies read.

    Args:
        graph: the model.
        feeds: its inputs, one mapping for each run.

    Returns:
        For each run tensor -> value, the inputs included; of loops also what they hand on.
    """
    control = [node for node in graph.nodes if any(bodies_of(node))]
    around = (
        name
        for node in control
        for name in (*node.input, *captured(node), *(node.output if node.op_type == "Loop" else ()))
    )
    reads = dict.fromkeys(name for name in around if name)
    stored = {name: graph.array(name) for name in reads if name in graph.initializers}
    watched = [name for name in reads if name in graph.producer]
    if not watched:
        return [{**stored, **one} for one in feeds]
    more = [name for name in watched if name not in graph.outputs]
    session = create_session(graph.proto, SessionConfig(level=0), graph.base_dir, more)
    values = (session.run(watched, dict(one)) for one in feeds)
    return [
        {**stored, **one, **dict(zip(watched, row, strict=True))}
        for one, row in zip(feeds, values, strict=True)
    ]


def feeds_of_body(node: NodeProto, attribute: str, values: Feeds) -> dict[str, Any]:
    """What goes into a body, its own inputs first; for loops, at the first turn.

    A sequence that a loop fills is empty at first, so that nothing could be said of the tensors in
    it: the one that comes out is handed in.

    Args:
        node: the node.
        attribute: the attribute that holds the body.
        values: values of all tensors that the node and its bodies read.
    """
    alone = NodeProto(attribute=[a for a in node.attribute if a.name == attribute])
    own = [info.name for info in dict(bodies_of(node))[attribute].input]
    entering = dict(zip(own, _entering(node, values), strict=True))
    return entering | {name: values[name] for name in captured(alone)}


def _entering(node: NodeProto, values: Feeds) -> list[Any]:
    """Values of a body's own inputs, in order."""
    given = [values.get(name) for name in node.input]
    if node.op_type == "Loop":
        first: list[Any] = given[2:]
        last: list[Any] = [values.get(name) for name in node.output[: len(first)]]
        fed = (b if isinstance(a, list) and b else a for a, b in zip(first, last, strict=True))
        return [np.array(0, dtype=np.int64), np.array(True), *fed]
    if node.op_type != "Scan":
        return []
    count = next(a.i for a in node.attribute if a.name == "num_scan_inputs")
    axes = next((list(a.ints) for a in node.attribute if a.name == "scan_input_axes"), [0] * count)
    states = len(given) - count
    slices = [np.take(v, 0, axis=a) for v, a in zip(given[states:], axes, strict=True)]  # type: ignore[arg-type]
    return [*given[:states], *slices]
