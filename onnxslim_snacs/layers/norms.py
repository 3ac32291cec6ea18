"""Normalisations along a stream, as one operator or written out: (x - mean) / deviation * s + b.

Written out as exporters do: d = x - ReduceMean(x), d / Sqrt(ReduceMean(d^2) + epsilon) for a layer
norm, x / Sqrt(ReduceMean(x^2) + epsilon) for a root mean square, times a scale, plus a shift.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, helper

from onnxslim_snacs.layers.layers import FloatArray, stored
from onnxslim_snacs.model.graph import ModelGraph
from onnxslim_snacs.ops.analyse import Analysis
from onnxslim_snacs.ops.node import OpNode


@dataclass(frozen=True, slots=True)
class Norm:
    """A normalisation over one axis.

    Attributes:
        nodes: positions of its nodes, the last one writes `out`.
        data: the tensor that it reads.
        dim: the axis that it normalises.
        out: the tensor that it writes.
        centred: whether the mean over the axis is taken off.
        scaled: whether it divides by the deviation over the axis; a batch norm does neither.
        epsilon: what is added to the mean square.
        scale: (width,) what it multiplies with.
        shift: (width,) what it adds.
        constants: the stored tensors that hold these.
    """

    nodes: tuple[int, ...]
    data: str
    dim: int
    out: str
    centred: bool
    scaled: bool
    epsilon: float
    scale: FloatArray
    shift: FloatArray
    constants: tuple[str, ...] = ()


def find_norms(analysis: Analysis) -> list[Norm]:
    """All normalisations of a graph that take statistics over one axis, or none at all."""
    found = []
    for position, node in enumerate(analysis.nodes):
        norm = _one_operator(analysis, position, node) or _written_out(analysis, position, node)
        if norm is not None:
            found.append(_with_affine(analysis, norm))
    return found


def _one_operator(analysis: Analysis, position: int, node: OpNode) -> Norm | None:
    graph = analysis.graph
    shape = analysis.facts.shape(node.inputs[0]) if node.inputs else None
    if shape is None or len(shape) < 2:
        return None
    if node.op == "BatchNormalization" and not node.attr("training_mode", 0):
        parts = [stored(graph, name) for name in node.inputs[1:5]]
        if any(p is None for p in parts) or len([o for o in node.outputs if o]) > 1:
            return None
        scale, shift, mean, variance = (np.asarray(p, dtype=np.float64) for p in parts)
        gain = scale / np.sqrt(variance + float(node.attr("epsilon", 1e-5)))
        return Norm(
            nodes=(position,),
            data=node.inputs[0],
            dim=1,
            out=node.outputs[0],
            centred=False,
            scaled=False,
            epsilon=0.0,
            scale=gain,
            shift=shift - mean * gain,
            constants=tuple(node.inputs[1:5]),
        )
    kinds = {"LayerNormalization": True, "RMSNormalization": False}
    kinds["SimplifiedLayerNormalization"] = False
    last = len(shape) - 1
    if node.op.split("::")[-1] not in kinds or int(node.attr("axis", -1)) % len(shape) != last:
        return None
    width = shape[last]
    names = [n for n in node.inputs[1:3] if n]
    values = [stored(graph, n) for n in names]
    if width is None or any(v is None for v in values) or any(node.outputs[1:]):
        return None
    vectors = [np.broadcast_to(np.asarray(v, np.float64).reshape(-1), (width,)) for v in values]
    return Norm(
        nodes=(position,),
        data=node.inputs[0],
        dim=last,
        out=node.outputs[0],
        centred=kinds[node.op.split("::")[-1]],
        scaled=True,
        epsilon=float(node.attr("epsilon", 1e-5)),
        scale=vectors[0] if vectors else np.ones(width),
        shift=vectors[1] if len(vectors) > 1 else np.zeros(width),
        constants=tuple(names),
    )


def _written_out(analysis: Analysis, position: int, node: OpNode) -> Norm | None:
    """A norm whose root is the node: Sqrt(ReduceMean(x^2) + epsilon) and what follows it."""
    graph = analysis.graph
    if node.op != "Sqrt":
        return None
    sum_ = _maker(graph, node.inputs[0], "Add")
    if sum_ is None:
        return None
    epsilon, mean = _scalar_and_other(graph, sum_[1])
    square_mean = None if mean is None else _maker(graph, mean, "ReduceMean")
    if epsilon is None or square_mean is None:
        return None
    square = _maker(graph, square_mean[1].input[0], "Pow", "Mul")
    if square is None or not _is_square(graph, square[1]):
        return None
    data = square[1].input[0]
    shape = analysis.facts.shape(data)
    if shape is None or shape[-1] is None or not _over_last(graph, square_mean[1], len(shape)):
        return None
    ending = _quotient(graph, node.outputs[0], data)
    if ending is None:
        return None
    inner = (square[0], square_mean[0], sum_[0], position, *ending[0])
    width = shape[-1]
    norm = Norm(
        nodes=inner,
        data=data,
        dim=len(shape) - 1,
        out=ending[1],
        centred=False,
        scaled=True,
        epsilon=epsilon,
        scale=np.ones(width),
        shift=np.zeros(width),
    )
    centre = _maker(graph, data, "Sub")
    if centre is None:
        return norm
    mean_of = _maker(graph, centre[1].input[1], "ReduceMean")
    source = centre[1].input[0]
    own = mean_of is not None and mean_of[1].input[0] == source
    readers = set(graph.consumers.get(data, ()))
    if mean_of is None or not own or not _over_last(graph, mean_of[1], len(shape)):
        return norm
    if not readers <= set(inner):
        return None
    nodes = (mean_of[0], centre[0], *inner)
    return Norm(
        nodes=nodes,
        data=source,
        dim=norm.dim,
        out=norm.out,
        centred=True,
        scaled=True,
        epsilon=epsilon,
        scale=norm.scale,
        shift=norm.shift,
    )


def _with_affine(analysis: Analysis, norm: Norm) -> Norm:
    """Take in the scale and the shift that stand behind a norm as nodes of their own."""
    graph, width = analysis.graph, len(norm.scale)
    for op in ("Mul", "Add"):
        readers = graph.consumers.get(norm.out, ())
        if len(readers) != 1 or norm.out in graph.outputs or not norm.scaled:
            return norm
        node = graph.nodes[readers[0]]
        others = [n for n in node.input if n != norm.out]
        value = stored(graph, others[0]) if len(others) == 1 else None
        if node.op_type != op or value is None or value.size != width:
            continue
        if value.shape[-1] != width:
            continue
        vector = value.astype(np.float64).reshape(-1)
        scale, shift = norm.scale, norm.shift
        norm = Norm(
            nodes=(*norm.nodes, readers[0]),
            data=norm.data,
            dim=norm.dim,
            out=node.output[0],
            centred=norm.centred,
            scaled=norm.scaled,
            epsilon=norm.epsilon,
            scale=scale * vector if op == "Mul" else scale,
            shift=shift * vector if op == "Mul" else shift + vector,
            constants=(*norm.constants, others[0]),
        )
    return norm


def _maker(graph: ModelGraph, tensor: str, *ops: str) -> tuple[int, NodeProto] | None:
    position = graph.producer.get(tensor)
    if position is None or graph.nodes[position].op_type not in ops:
        return None
    return position, graph.nodes[position]


def _scalar_and_other(graph: ModelGraph, node: NodeProto) -> tuple[float | None, str | None]:
    for index in (0, 1):
        value = stored(graph, node.input[index])
        if value is not None and value.size == 1:
            return float(value.reshape(-1)[0]), node.input[1 - index]
    return None, None


def _is_square(graph: ModelGraph, node: NodeProto) -> bool:
    if node.op_type == "Mul":
        return bool(node.input[0] == node.input[1])
    power = stored(graph, node.input[1])
    return power is not None and power.size == 1 and float(power.reshape(-1)[0]) == 2.0


def _over_last(graph: ModelGraph, node: NodeProto, rank: int) -> bool:
    """Whether a reduction is over the last axis alone, and keeps it."""
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    axes: NDArray[np.int64] | list[int] | None = attributes.get("axes")
    if axes is None and len(node.input) > 1:
        axes = stored(graph, node.input[1])
    if axes is None or attributes.get("keepdims", 1) != 1:
        return False
    return [int(a) % rank for a in np.asarray(axes).reshape(-1)] == [rank - 1]


def _quotient(graph: ModelGraph, root: str, data: str) -> tuple[tuple[int, ...], str] | None:
    """(positions, output) of data / root, or of data * (1 / root)."""
    readers = graph.consumers.get(root, ())
    if len(readers) != 1:
        return None
    node = graph.nodes[readers[0]]
    if node.op_type == "Div" and list(node.input) == [data, root]:
        return (readers[0],), node.output[0]
    one = node.op_type == "Div" and _is_one(stored(graph, node.input[0]))
    if not (one or node.op_type == "Reciprocal"):
        return None
    further = graph.consumers.get(node.output[0], ())
    product = graph.nodes[further[0]] if len(further) == 1 else None
    if product is None or product.op_type != "Mul" or data not in product.input:
        return None
    return (readers[0], further[0]), product.output[0]


def _is_one(value: NDArray[np.generic] | None) -> bool:
    return value is not None and value.size == 1 and float(value.reshape(-1)[0]) == 1.0
