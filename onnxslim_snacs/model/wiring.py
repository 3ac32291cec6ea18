"""Names of a graph: each written once, and before it is read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from graphlib import CycleError, TopologicalSorter

from onnx import FunctionProto, GraphProto, ModelProto, NodeProto

from onnxslim_snacs.errors import InputRefused, foreign
from onnxslim_snacs.model.graph import captured, subgraphs
from onnxslim_snacs.model.stored import every_node, stored_tensors

_Scopes = Sequence[set[str]]


def check_names(model: ModelProto) -> None:
    """Check that every name is text; Protocol Buffers hands over as bytes what is not UTF-8.

    Raises:
        InputRefused: a name is not valid UTF-8.
    """
    if not all(isinstance(name, str) for name in _names(model)):
        raise InputRefused("a name in the model is not valid UTF-8: the file is damaged")


def _names(model: ModelProto) -> Iterator[object]:
    yield from (o.domain for o in model.opset_import)
    yield from _value_names(model.graph)
    for function in model.functions:
        yield from (function.name, function.domain, function.overload)
        yield from (*function.input, *function.output, *(o.domain for o in function.opset_import))
    for node in every_node(model):
        yield from (node.name, node.op_type, node.domain, node.overload)
        yield from (*node.input, *node.output, *(a.name for a in node.attribute))
        for body in subgraphs(node):
            yield from _value_names(body)
    for _, tensor in stored_tensors(model):
        yield tensor.name
        for entry in tensor.external_data:
            yield from (entry.key, entry.value)


def _value_names(graph: GraphProto) -> Iterator[object]:
    for value in (*graph.input, *graph.output, *graph.value_info):
        yield value.name
        yield from (d.dim_param for d in value.type.tensor_type.shape.dim)


def check_wiring(model: ModelProto) -> None:
    """Check that every name is written once, before it is read, in the graph and all bodies.

    ONNX Runtime takes graphs that break this, and silently chooses one of two writers.

    Raises:
        InputRefused: the graph is empty, a name has two writers or none, or nodes form a cycle.
    """
    if not model.graph.node:
        raise InputRefused("the model has no nodes: is this the right file?")
    if not model.graph.output:
        raise InputRefused("the model has no outputs, so nothing in it is needed")
    _check_graph(model.graph, ())
    for function in model.functions:
        _check_function(function)


def _check_graph(graph: GraphProto, outer: _Scopes) -> None:
    inputs = _unique([v.name for v in graph.input], "input")
    stored = [t.name for t in graph.initializer]
    stored += [t.values.name for t in graph.sparse_initializer]
    known = inputs | _unique(stored, "initializer")
    _check_nodes(graph.node, known, outer)
    for value in graph.output:
        _require(value.name, f"output {foreign(value.name)} of the graph", known, outer)


def _check_function(function: FunctionProto) -> None:
    known = _unique(list(function.input), "input")
    _check_nodes(function.node, known, ())
    for name in function.output:
        _require(name, f"output {foreign(name)} of function {foreign(function.name)}", known, ())


def _check_nodes(nodes: Sequence[NodeProto], known: set[str], outer: _Scopes) -> None:
    """Walk the nodes in order; `known` grows by what they write."""
    for node in nodes:
        for name in node.input:
            if name and not _is_known(name, known, outer):
                raise InputRefused(_why_unknown(node, name, nodes))
        for body in subgraphs(node):
            _check_graph(body, (*outer, known))
        for name in node.output:
            if name and name in known:
                raise InputRefused(
                    f"{describe(node)} writes {foreign(name)}, which is written already: "
                    "every tensor has one writer"
                )
            if name:
                known.add(name)


def _unique(names: list[str], what: str) -> set[str]:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise InputRefused(f"two {what}s have the name {foreign(name)}")
        if not name:
            raise InputRefused(f"an {what} has no name")
        seen.add(name)
    return seen


def _is_known(name: str, known: set[str], outer: _Scopes) -> bool:
    return name in known or any(name in scope for scope in outer)


def _require(name: str, what: str, known: set[str], outer: _Scopes) -> None:
    if not _is_known(name, known, outer):
        raise InputRefused(f"{what} is written by no node")


def describe(node: NodeProto) -> str:
    """A node for a message."""
    name = node.name or next((o for o in node.output if o), "")
    return f"node {foreign(name)} ({foreign(node.op_type)})"


def _why_unknown(node: NodeProto, name: str, nodes: Sequence[NodeProto]) -> str:
    read = f"{describe(node)} reads {foreign(name)}"
    if not any(name in other.output for other in nodes):
        return f"{read}, which no node writes and which is no input or initializer"
    if _has_cycle(nodes):
        return f"{read} from a node that needs the first one's result: the graph has a cycle"
    return f"{read} before it is written"


def _has_cycle(nodes: Sequence[NodeProto]) -> bool:
    """Whether some nodes can never run."""
    writer = {name: k for k, node in enumerate(nodes) for name in node.output if name}
    needs = {
        k: {writer[name] for name in (*node.input, *captured(node)) if name in writer}
        for k, node in enumerate(nodes)
    }
    try:
        TopologicalSorter(needs).prepare()
    except CycleError:
        return True
    return False
