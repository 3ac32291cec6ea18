"""What a run would tell of the shapes of tensors, by static inference where that knows them all.

Runs of large models take seconds, inference takes milliseconds; but it stops at whatever depends on
data, at operators that it does not know, and wherever an exporter computes a shape in a way that it
does not follow.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import prod
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, helper, numpy_helper

from onnxslim_snacs.errors import LimitExceeded, RuntimeRefused, foreign
from onnxslim_snacs.model.body import bodies_of
from onnxslim_snacs.model.bounds import DEFAULT_LIMITS
from onnxslim_snacs.model.graph import ModelGraph
from onnxslim_snacs.model.probes import node_names
from onnxslim_snacs.model.session import SessionConfig, create_session
from onnxslim_snacs.model.shell import shell
from onnxslim_snacs.model.sizes import Sizes
from onnxslim_snacs.model.tensors import element_count

#: Elements of all tensors together from which on a run is worth avoiding.
LARGE = 1 << 22
#: Weights up to which inference is told their values: they may be shapes.
SMALL = 4096
#: How often inference is told what followed from it.
_ROUNDS = 8

Shapes = dict[str, tuple[int, ...]]


def inferred(
    graph: ModelGraph, sizes: Sizes, by_shape: frozenset[str], valued: frozenset[str]
) -> tuple[Shapes, dict[str, NDArray[Any]]] | None:
    """Shapes of all tensors, and values of those that follow from shapes and constants.

    Args:
        graph: the model.
        sizes: of its inputs.
        by_shape: tensors that follow from shapes and constants.
        valued: those of them whose values are asked for.

    Returns:
        (tensor -> shape, tensor -> value); None where inference does not know all of it, where the
        model is small enough to be run, or where it has bodies or functions.

    Raises:
        LimitExceeded: a tensor is too large for any run.
    """
    if graph.proto.functions or any(next(bodies_of(n), None) for n in graph.nodes):
        return None
    model, values = _blank(graph, sizes), dict[str, NDArray[Any]]()
    wanted = [*graph.inputs, *(n for node in graph.nodes for n in node.output if n)]
    for _ in range(_ROUNDS):
        shapes = _shapes(_told(model, values))
        _require_possible(shapes)
        reached = _reached(graph, shapes, by_shape) & valued
        if reached <= set(values):
            break
        try:
            values = _values(graph, shapes, by_shape, reached)
        except (RuntimeRefused, LimitExceeded):
            return None
    if any(name not in shapes for name in wanted) or valued - set(graph.initializers) - reached:
        return None
    found = {name: shapes[name] for name in wanted}
    if sum(map(prod, found.values())) < LARGE:
        return None
    return found, {name: value for name, value in values.items() if value.size <= SMALL}


def _blank(graph: ModelGraph, sizes: Sizes) -> ModelProto:
    """The model without large weights, at some sizes of its inputs, and nothing else declared."""
    model = shell(graph.proto, "graph")
    model.graph.CopyFrom(shell(graph.proto.graph, "initializer", "value_info"))
    for name, tensor in graph.initializers.items():
        if element_count(tensor) <= SMALL:
            model.graph.initializer.append(tensor)
        else:
            info = helper.make_tensor_value_info(name, tensor.data_type, tensor.dims)
            model.graph.input.append(info)
    for info in model.graph.input:
        if info.name in sizes:
            shape = info.type.tensor_type.shape
            shape.Clear()
            for extent in sizes[info.name]:
                shape.dim.add().dim_value = extent
    for info in model.graph.output:
        info.type.tensor_type.ClearField("shape")
    return model


def _told(model: ModelProto, values: Mapping[str, NDArray[Any]]) -> ModelProto:
    """The model with what is known of the values that its nodes write."""
    told = shell(model, "graph")
    told.graph.CopyFrom(model.graph)
    for node in told.graph.node:
        if len(node.output) == 1 and node.output[0] in values:
            node.CopyFrom(_constant(node, node.name, values[node.output[0]]))
    return told


def _shapes(model: ModelProto) -> Shapes:
    """The shapes that inference finds out; none where it finds a fault."""
    try:
        told = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
    except MemoryError:
        raise
    except Exception:  # a run will tell what is wrong, or that nothing is
        return {}
    found = {}
    for info in (*told.value_info, *told.input, *told.output):
        dims = info.type.tensor_type.shape.dim
        if info.type.tensor_type.HasField("shape") and all(d.HasField("dim_value") for d in dims):
            found[info.name] = tuple(int(d.dim_value) for d in dims)
    return found


def _require_possible(shapes: Shapes) -> None:
    for name, shape in shapes.items():
        if prod(shape) > DEFAULT_LIMITS.elements:
            raise LimitExceeded(
                f"tensor {foreign(name)} has the shape {foreign(shape)} when the model is run: "
                f"more than {DEFAULT_LIMITS.elements:,} elements"
            )


def _reached(graph: ModelGraph, shapes: Shapes, by_shape: frozenset[str]) -> set[str]:
    """What follows from constants and from these shapes."""
    found = set(graph.initializers)
    for node in graph.nodes:
        if not by_shape.issuperset(filter(None, node.output)):
            continue
        measures = _measures(node, by_shape)
        if node.input[0] in shapes if measures else found.issuperset(filter(None, node.input)):
            found.update(filter(None, node.output))
    return found - set(graph.initializers)


def _values(
    graph: ModelGraph, shapes: Shapes, by_shape: frozenset[str], asked: Iterable[str]
) -> dict[str, NDArray[Any]]:
    """What follows from shapes, by a run of that part alone."""
    asked = sorted(asked)
    names, needed = node_names(graph), set[int]()
    pending = list(asked)
    while pending:
        position = graph.producer.get(pending.pop())
        if position is None or position in needed:
            continue
        needed.add(position)
        node = graph.nodes[position]
        pending.extend(n for n in node.input if n and not _measures(node, by_shape))
    if not needed:
        return {}
    nodes = [_known(graph.nodes[k], names[k], shapes, by_shape) for k in sorted(needed)]
    read = {name for node in nodes for name in node.input}
    part = shell(graph.proto, "graph")
    part.graph.CopyFrom(
        GraphProto(
            name="shapes",
            node=nodes,
            initializer=[t for name, t in graph.initializers.items() if name in read],
            output=[onnx.ValueInfoProto(name=name) for name in asked],
        )
    )
    session = create_session(part, SessionConfig(level=0, plan_memory=False), graph.base_dir)
    return dict(zip(asked, map(np.asarray, session.run(asked, {})), strict=True))


def _measures(node: NodeProto, by_shape: frozenset[str]) -> bool:
    """Whether a node asks for the shape of a tensor that is none of a shape's."""
    return node.op_type in ("Shape", "Size") and node.input[0] not in by_shape


def _known(node: NodeProto, name: str, shapes: Shapes, by_shape: frozenset[str]) -> NodeProto:
    """A node, or the constant that it gives for these shapes."""
    if not _measures(node, by_shape):
        return node
    shape = shapes[node.input[0]]
    given = {a.name: a.i for a in node.attribute}
    span = shape[slice(given.get("start"), given.get("end"))]
    value = np.array(prod(shape) if node.op_type == "Size" else span, dtype=np.int64)
    return _constant(node, name, value)


def _constant(node: NodeProto, name: str, value: NDArray[Any]) -> NodeProto:
    """A node that writes a value in the place of another one."""
    stored = numpy_helper.from_array(value)
    return helper.make_node("Constant", [], list(node.output), name, value=stored)


def told_alike(
    one: tuple[Mapping[str, tuple[int, ...]], Mapping[str, NDArray[Any]]],
    other: tuple[Mapping[str, tuple[int, ...]], Mapping[str, NDArray[Any]]],
) -> bool:
    """Whether inference and a run have said the same of every tensor of which inference speaks."""
    shapes, values = one
    return all(other[0].get(name) == shape for name, shape in shapes.items()) and all(
        name in other[1] and np.array_equal(other[1][name], value) for name, value in values.items()
    )
