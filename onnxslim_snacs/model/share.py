"""Shared vectors: exporters store equal biases once, which ties layers that have nothing in common.

Each reader gets a vector of its own before the analysis, and readers whose vectors are still equal
after the cut share one again.  Matrices and filters stay shared: those were tied by the author.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import prod

from onnx import ModelProto, NodeProto, TensorProto

from onnxslim_snacs.model.edit import free_name
from onnxslim_snacs.model.graph import ModelGraph, node_constant

#: Operands such as shapes and bounds: they hold no channels.
_OPERANDS = (TensorProto.INT64, TensorProto.BOOL, TensorProto.STRING)


def separate(graph: ModelGraph) -> tuple[ModelGraph, dict[str, str]]:
    """Give every reader of a shared vector its own copy.

    Args:
        graph: the model; not changed.

    Returns:
        (the model with the copies, copy -> original); the model itself if nothing is shared.
    """
    shared = {name: vector for name, vector in _vectors(graph) if _reads(graph, name) > 1}
    if not shared:
        return graph, {}
    model = ModelProto()
    model.CopyFrom(graph.proto)
    taken = {name for node in graph.nodes for name in (*node.input, *node.output)}
    copies: dict[str, str] = {}
    seen: set[str] = set()
    for node in model.graph.node:
        for position, name in enumerate(node.input):
            if name not in shared:
                continue
            if name not in seen:  # the first reader keeps the original
                seen.add(name)
                continue
            copy = free_name(f"{name}_{position}_of_{next(iter(node.output), '')}", taken)
            taken.add(copy)
            copies[copy] = name
            tensor = model.graph.initializer.add()
            tensor.CopyFrom(shared[name])
            tensor.name = copy
            node.input[position] = copy
    return ModelGraph(model, graph.base_dir), copies


def _vectors(graph: ModelGraph) -> Iterator[tuple[str, TensorProto]]:
    """Constants with one axis of more than one slot that no one can feed and no one is shown."""
    listed = {v.name for v in (*graph.graph.input, *graph.graph.output)}
    stored = ((tensor.name, tensor) for tensor in graph.graph.initializer)
    for name, tensor in (*stored, *_constants(graph)):
        size = prod(tensor.dims)
        is_vector = 1 < size == max(tensor.dims, default=0)
        if is_vector and tensor.data_type not in _OPERANDS and name not in listed:
            yield name, tensor


def _constants(graph: ModelGraph) -> Iterator[tuple[str, TensorProto]]:
    for node in graph.nodes:
        tensor = next((a.t for a in node.attribute if a.name == "value"), None)
        if node.op_type == "Constant" and tensor is not None and node_constant(node) is not None:
            yield node.output[0], tensor


def _reads(graph: ModelGraph, name: str) -> int:
    nodes = (graph.nodes[k] for k in graph.consumers.get(name, ()))
    return sum(list(node.input).count(name) for node in nodes)


def rejoin(model: ModelProto, copies: Mapping[str, str]) -> None:
    """Let readers share a vector again where their copies are equal.

    Args:
        model: the model that is being written; changed in place, for it is ours.
        copies: what `separate` has made.
    """
    if not copies:
        return
    contents = {tensor.name: _content(tensor) for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant" and node.output[0] in set(copies.values()):
            tensor = next((a.t for a in node.attribute if a.name == "value"), None)
            contents[node.output[0]] = _content(tensor) if tensor is not None else b""
    instead: dict[str, str] = {}
    first: dict[tuple[str, bytes], str] = {}
    for name in dict.fromkeys(copies.values()):
        if name in contents:
            first[name, contents[name]] = name
    for copy, name in copies.items():
        if copy in contents:
            kept = first.setdefault((name, contents[copy]), copy)
            if kept != copy:
                instead[copy] = kept
    for node in model.graph.node:
        _rename(node, instead)
    spent = [k for k, tensor in enumerate(model.graph.initializer) if tensor.name in instead]
    for position in reversed(spent):
        del model.graph.initializer[position]


def _content(tensor: TensorProto) -> bytes:
    """Everything but the name and the comment, for comparison."""
    bare = TensorProto()
    bare.CopyFrom(tensor)
    bare.ClearField("name")
    bare.ClearField("doc_string")
    content: bytes = bare.SerializeToString(deterministic=True)
    return content


def _rename(node: NodeProto, instead: Mapping[str, str]) -> None:
    for position, name in enumerate(node.input):
        if name in instead:
            node.input[position] = instead[name]
