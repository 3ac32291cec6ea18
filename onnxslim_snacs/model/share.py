"""Shared vectors: exporters store equal biases once, which ties layers that have nothing in common.

Each reader gets a vector of its own before the analysis, and readers whose vectors are still equal
after the cut share one again.  So do nodes that only hand a vector on (a cast, a dequantiser).
Matrices and filters stay shared, for those were tied by the author, unless they hold one number.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import prod

from onnx import ModelProto, NodeProto, TensorProto, numpy_helper

from onnxslim_snacs.model.edit import free_name
from onnxslim_snacs.model.external import is_external
from onnxslim_snacs.model.graph import ModelGraph, node_constant

#: Operands such as shapes and bounds: they hold no channels.
_OPERANDS = (TensorProto.INT64, TensorProto.BOOL, TensorProto.STRING)
#: Numbers of a table that is looked through.
_LARGEST_FILL = 1 << 20


#: What hands a stored vector on: quantised and half-precision files have one of these before all
#: readers of a bias.
_CARRIERS = frozenset(("Cast", "DequantizeLinear", "Flatten", "Identity", "Reshape", "Unsqueeze"))


def separate(graph: ModelGraph) -> tuple[ModelGraph, dict[str, str]]:
    """Give every reader of a shared vector its own copy, and its own nodes that hand it on.

    Args:
        graph: the model; not changed.

    Returns:
        (the model with the copies, copy -> original: of vectors and of what such nodes make); the
        model itself if nothing is shared.
    """
    vectors = dict(_vectors(graph))
    carried = _carried(graph, vectors)
    if not any(_reads(graph, name) > 1 for name in (*vectors, *carried)):
        return graph, {}
    model = ModelProto()
    model.CopyFrom(graph.proto)
    taken = {name for node in graph.nodes for name in (*node.input, *node.output)}
    copies: dict[str, str] = {}
    _clone_carriers(model, carried, taken, copies)
    seen: set[str] = set()
    for node in model.graph.node:
        for position, name in enumerate(node.input):
            if name not in vectors:
                continue
            if name not in seen:  # the first reader keeps the original
                seen.add(name)
                continue
            copy = _named(name, position, node, taken)
            copies[copy] = name
            tensor = model.graph.initializer.add()
            tensor.CopyFrom(vectors[name])
            tensor.name = copy
            node.input[position] = copy
    return ModelGraph(model, graph.base_dir), copies


def _named(name: str, position: int, node: NodeProto, taken: set[str]) -> str:
    copy = free_name(f"{name}_{position}_of_{next(iter(node.output), '')}", taken)
    taken.add(copy)
    return copy


def _carried(graph: ModelGraph, vectors: Mapping[str, TensorProto]) -> set[str]:
    """What nodes make that only hand a stored vector on, and that no one is shown."""
    shown = {v.name for v in graph.graph.output}
    stored = set(graph.initializers) | {n.output[0] for n in graph.nodes if n.op_type == "Constant"}
    found: set[str] = set()
    for node in graph.nodes:
        if node.op_type not in _CARRIERS or node.output[0] in shown:
            continue
        first, *others = node.input
        if (first in vectors or first in found) and stored.issuperset(filter(None, others)):
            found.add(node.output[0])
    return found


def _clone_carriers(
    model: ModelProto, carried: set[str], taken: set[str], copies: dict[str, str]
) -> None:
    """Let each further reader of what is handed on have a node of its own for that."""
    readers: dict[str, list[tuple[NodeProto, int]]] = {}
    for node in model.graph.node:
        for position, name in enumerate(node.input):
            if name in carried:
                readers.setdefault(name, []).append((node, position))
    clones: dict[str, list[NodeProto]] = {}
    names = {node.name for node in model.graph.node}
    for node in reversed(model.graph.node):
        name = node.output[0] if node.output else ""
        for reader, position in readers.get(name, ())[1:]:
            clone = NodeProto()
            clone.CopyFrom(node)
            clone.output[0] = _named(name, position, reader, taken)
            if node.name:  # ONNX Runtime takes no name twice
                clone.name = free_name(f"{node.name}_{position}_of_{reader.name}", names)
                names.add(clone.name)
            reader.input[position] = clone.output[0]
            copies[clone.output[0]] = name
            clones.setdefault(name, []).append(clone)
            readers.setdefault(node.input[0], []).append((clone, 0))
    nodes = [
        one for n in model.graph.node for one in (n, *clones.get(next(iter(n.output), ""), ()))
    ]
    fresh = ModelProto()
    fresh.graph.node.extend(nodes)
    del model.graph.node[:]
    model.graph.node.extend(fresh.graph.node)


def _vectors(graph: ModelGraph) -> Iterator[tuple[str, TensorProto]]:
    """Constants that tie nothing, and that no one can feed and no one is shown.

    They have one axis of more than one slot, or hold one number everywhere: tables that begin with
    zeros and have not been trained.
    """
    listed = {v.name for v in (*graph.graph.input, *graph.graph.output)}
    stored = ((tensor.name, tensor) for tensor in graph.graph.initializer)
    for name, tensor in (*stored, *_constants(graph)):
        size = prod(tensor.dims)
        if size < 2 or tensor.data_type in _OPERANDS or name in listed:
            continue
        if size == max(tensor.dims, default=0) or _is_filled(graph, name, tensor, size):
            yield name, tensor


def _is_filled(graph: ModelGraph, name: str, tensor: TensorProto, size: int) -> bool:
    """Whether a shared table, unless it is large, holds one number everywhere."""
    if size > _LARGEST_FILL or _reads(graph, name) < 2 or is_external(tensor):
        return False
    value = numpy_helper.to_array(tensor).reshape(-1)
    return bool((value == value[0]).all())


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
    _rejoin_nodes(model, copies, first, instead)
    spent = [k for k, tensor in enumerate(model.graph.initializer) if tensor.name in instead]
    for position in reversed(spent):
        del model.graph.initializer[position]


def _rejoin_nodes(
    model: ModelProto,
    copies: Mapping[str, str],
    first: dict[tuple[str, bytes], str],
    instead: dict[str, str],
) -> None:
    """Let readers read the names that are left, and remove nodes that do what another one does."""
    cloned = {*copies, *copies.values()}
    spare = []
    for position, node in enumerate(model.graph.node):
        _rename(node, instead)
        if not node.output or node.output[0] not in cloned or not node.input:
            continue
        name = node.output[0]
        kept = first.setdefault((copies.get(name, name), _work(node)), name)
        if kept != name:
            instead[name] = kept
            spare.append(position)
    for position in reversed(spare):
        del model.graph.node[position]


def _work(node: NodeProto) -> bytes:
    """Everything but the names of a node and of what it makes, for comparison."""
    bare = NodeProto()
    bare.CopyFrom(node)
    bare.ClearField("name")
    bare.ClearField("doc_string")
    bare.ClearField("output")
    content: bytes = bare.SerializeToString(deterministic=True)
    return content


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
