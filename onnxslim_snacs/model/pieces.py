"""What a part of a model needs in order to run alone: constants are copied, the rest is fed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper

from onnxslim_snacs.model.graph import captured


def reads(node: NodeProto) -> set[str]:
    """Names that a node reads, its bodies included."""
    return {name for name in (*node.input, *captured(node)) if name}


def constant_nodes(model: ModelProto) -> frozenset[int]:
    """Positions of nodes that compute the same in every run.

    A part of the model has to hold them itself: operators read sizes, axes and weights at once,
    when a session is opened, and refuse what is only fed to them later.
    """
    known = {t.name for t in model.graph.initializer}
    found = []
    for position, node in enumerate(model.graph.node):
        random = node.op_type.startswith("Random") or node.op_type in ("Bernoulli", "Multinomial")
        if not random and reads(node) <= known:
            known.update(node.output)
            found.append(position)
    return frozenset(found)


def with_constants(
    model: ModelProto, nodes: Iterable[int], constant: frozenset[int]
) -> tuple[list[NodeProto], list[TensorProto]]:
    """Nodes with the constant ones on which they depend, and the initializers that these read.

    Args:
        model: the whole.
        nodes: positions of the nodes.
        constant: positions of the model's constant nodes.
    """
    graph = model.graph
    producer = {name: p for p in constant for name in graph.node[p].output if name}
    chosen = set(nodes)
    stack, read = list(chosen), set[str]()
    while stack:
        names = reads(graph.node[stack.pop()])
        read |= names
        more = {producer[name] for name in names if name in producer} - chosen
        chosen |= more
        stack.extend(more)
    return [graph.node[p] for p in sorted(chosen)], [t for t in graph.initializer if t.name in read]


def fed_input(name: str, values: Sequence[NDArray[Any]]) -> ValueInfoProto:
    """An input of a part, declared as what it is going to be fed with.

    A vector that holds a shape is nothing to shape inference without an extent of its own.

    Args:
        name: the tensor.
        values: its value in every run.
    """
    kind = helper.np_dtype_to_tensor_dtype(values[0].dtype)
    if len({value.ndim for value in values}) != 1:
        return helper.make_tensor_value_info(name, kind, None)
    extents = zip(*(value.shape for value in values), strict=True)
    dims = [column[0] if len(set(column)) == 1 else None for column in extents]
    return helper.make_tensor_value_info(name, kind, dims)
