"""The small changes from which every rewriting of a model is made; each works on a copy of ours."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from onnxslim_snacs.model.graph import node_constant
from onnxslim_snacs.model.mapped import tensor_array

#: Before this version of the format, every initializer is an input as well.
FREE_INITIALIZERS = 4


def write_tensor(tensor: TensorProto, value: NDArray[Any]) -> None:
    """Give a stored tensor other contents; its name, type and doc string stay."""
    fresh = numpy_helper.from_array(np.asarray(value, order="C"), tensor.name)
    fresh.doc_string = tensor.doc_string
    fresh.data_type = tensor.data_type
    tensor.CopyFrom(fresh)


def write_constant(node: NodeProto, value: NDArray[Any]) -> None:
    """Give a Constant node another value."""
    old = next((a for a in node.attribute if a.name == "value"), None)
    if old is not None:
        write_tensor(old.t, value)
        return
    del node.attribute[:]
    node.attribute.append(helper.make_attribute("value", numpy_helper.from_array(value)))


def get_value(model: ModelProto, name: str, base_dir: Path | None = None) -> NDArray[Any]:
    """The value of an initializer or of a Constant node.

    Raises:
        KeyError: there is none of that name.
    """
    for tensor in model.graph.initializer:
        if tensor.name == name:
            return tensor_array(tensor, base_dir)
    for node in model.graph.node:
        value = node_constant(node) if node.output[0] == name else None
        if value is not None:
            return value
    raise KeyError(name)


def set_value(model: ModelProto, name: str, value: NDArray[Any]) -> bool:
    """Give an initializer or a Constant node another value of the same type.

    Returns:
        Whether there is one of that name.
    """
    for tensor in model.graph.initializer:
        if tensor.name == name:
            write_tensor(tensor, value)
            return True
    for node in model.graph.node:
        if node.op_type == "Constant" and node.output[0] == name:
            write_constant(node, value)
            return True
    return False


def add_initializer(model: ModelProto, name: str, value: NDArray[Any]) -> str:
    """Store a new constant.

    Returns:
        Its name.
    """
    model.graph.initializer.append(numpy_helper.from_array(np.asarray(value, order="C"), name))
    if model.ir_version < FREE_INITIALIZERS:
        kind = helper.np_dtype_to_tensor_dtype(value.dtype)
        model.graph.input.append(helper.make_tensor_value_info(name, kind, value.shape))
    return name


def set_input(
    model: ModelProto,
    node: NodeProto,
    index: int,
    value: NDArray[Any],
    *,
    alone: bool,
    suffix: str,
) -> str:
    """Give one input of one node another constant.

    Args:
        model: the model.
        node: the node.
        index: position of the input, which may be missing so far.
        value: the constant.
        alone: whether nobody else reads the present constant; otherwise the node gets one of its
            own.
        suffix: what the name of that has between the node's output and the position.

    Returns:
        The constant that has lost this reader, "" if none has.
    """
    node.input.extend([""] * (index + 1 - len(node.input)))
    name = node.input[index]
    if name and alone and set_value(model, name, value):
        return ""
    node.input[index] = add_initializer(model, f"{node.output[0]}_{suffix}_{index}", value)
    return str(name)


def taken_names(graph: GraphProto) -> set[str]:
    """The names of all tensors of a graph."""
    names = {item.name for item in (*graph.initializer, *graph.input, *graph.output)}
    return names | {name for node in graph.node for name in (*node.input, *node.output)}


def free_name(wanted: str, taken: Collection[str]) -> str:
    """The wanted name, or one like it that is not taken."""
    while wanted in taken:
        wanted += "_"
    return wanted


def put_nodes(
    graph: GraphProto,
    before: Mapping[int, Sequence[NodeProto]] | None = None,
    after: Mapping[int, Sequence[NodeProto]] | None = None,
    instead: Mapping[int, Sequence[NodeProto]] | None = None,
) -> None:
    """Put nodes into a graph.

    Args:
        graph: the graph, changed in place.
        before: position of a node -> nodes to put in front of it.
        after: position of a node -> nodes to put behind it.
        instead: position of a node -> nodes to put into its place.
    """
    if not (before or after or instead):
        return
    nodes: list[NodeProto] = []
    for position, node in enumerate(graph.node):
        copy = NodeProto()
        copy.CopyFrom(node)
        nodes.extend((before or {}).get(position, ()))
        nodes.extend((instead or {}).get(position, (copy,)))
        nodes.extend((after or {}).get(position, ()))
    del graph.node[:]
    graph.node.extend(nodes)
