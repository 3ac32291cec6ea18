"""Constants of real numbers that lie in the file in another type or order, and the way back.

An exporter that stores bfloat16 puts a Cast in front of every layer, a quantiser DequantizeLinear,
others a Transpose.  A re-fit works with the real numbers; what it finds is written where the file
has them, in their type.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, helper

from onnxslim_snacs.model.graph import ModelGraph, stored

_LONGEST = 8
_DEQUANTISE = "DequantizeLinear"
#: Of the types that numpy itself does not have.
_RANGES = {
    "int4": (-8.0, 7.0),
    "uint4": (0.0, 15.0),
    "int2": (-2.0, 1.0),
    "uint2": (0.0, 3.0),
    "float8_e4m3fn": (-448.0, 448.0),
    "float8_e4m3fnuz": (-240.0, 240.0),
    "float8_e5m2": (-57344.0, 57344.0),
    "float8_e5m2fnuz": (-57344.0, 57344.0),
    "float4_e2m1fn": (-6.0, 6.0),
}


@dataclass(frozen=True, slots=True)
class Typed:
    """Where a constant lies.

    Attributes:
        name: the stored tensor.
        value: what is stored.
        steps: the nodes that make real numbers of it, in order.
    """

    name: str
    value: NDArray[Any]
    steps: tuple[NodeProto, ...]


def typed(graph: ModelGraph, name: str) -> Typed | None:
    """Where a constant lies; None if it is computed otherwise, or others read it on the way.

    Args:
        graph: the model.
        name: the constant; how many read that is not looked at.
    """
    steps: list[NodeProto] = []
    while len(steps) <= _LONGEST:
        value = stored(graph, name)
        if value is not None:
            return Typed(name, value, tuple(reversed(steps)))
        node = graph.nodes[graph.producer[name]] if name in graph.producer else None
        if node is None or not _is_step(graph, node):
            return None
        steps.append(node)
        name = node.input[0]
        if len(graph.consumers[name]) != 1 or name in graph.outputs:
            return None
    return None


def _is_step(graph: ModelGraph, node: NodeProto) -> bool:
    if node.op_type == _DEQUANTISE and node.domain in ("", "ai.onnx", "com.microsoft"):
        return all(stored(graph, name) is not None for name in node.input[1:] if name)
    return node.domain in ("", "ai.onnx") and node.op_type in ("Cast", "Identity", "Transpose")


def real_constant(graph: ModelGraph, name: str) -> NDArray[Any] | None:
    """The real numbers of a constant, None if it is not known where they lie."""
    place = typed(graph, name)
    if place is None:
        return None
    value = place.value
    for node in place.steps:
        value = _forth(graph, node, value)
    return value


def _attribute(node: NodeProto, name: str, default: Any) -> Any:
    found = next((a for a in node.attribute if a.name == name), None)
    return default if found is None else helper.get_attribute_value(found)


def _forth(graph: ModelGraph, node: NodeProto, value: NDArray[Any]) -> NDArray[Any]:
    if node.op_type == "Cast":
        return value.astype(helper.tensor_dtype_to_np_dtype(_attribute(node, "to", 1)))
    if node.op_type == "Transpose":
        return value.transpose(_attribute(node, "perm", range(value.ndim)[::-1]))
    if node.op_type == _DEQUANTISE:
        scale, point = _spread(graph, node, value.shape)
        real: NDArray[Any] = (value.astype(scale.dtype) - point) * scale
        return real
    return value


def _spread(
    graph: ModelGraph, node: NodeProto, shape: tuple[int, ...]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Scale and zero point, each so that it is broadcast to the numbers."""
    axis = int(_attribute(node, "axis", 1))
    axis = axis % len(shape) if shape else 0
    found = []
    for name in node.input[1:3]:
        value = stored(graph, name) if name else None
        if value is None:
            continue
        if value.ndim == 1 and value.size > 1:
            value = value.reshape([-1 if d == axis else 1 for d in range(len(shape))])
        elif value.ndim == len(shape) and value.ndim > 1:
            times = -(-shape[axis] // value.shape[axis])
            value = np.repeat(value, times, axis=axis).take(range(shape[axis]), axis=axis)
        elif value.ndim == 1:
            value = value.reshape(())
        found.append(value)
    scale = found[0]
    point = found[1].astype(scale.dtype) if len(found) > 1 else np.zeros((), dtype=scale.dtype)
    return scale, point


def in_type(graph: ModelGraph, place: Typed, value: NDArray[Any]) -> NDArray[Any]:
    """Real numbers as they have to be stored to come out as near to themselves as the type allows.

    Args:
        graph: the model.
        place: where they lie.
        value: the numbers.
    """
    shapes = []
    before = place.value
    for node in place.steps:
        shapes.append((node, before))
        before = _forth(graph, node, before)
    for node, kind in reversed(shapes):
        value = _back(graph, node, value, kind)
    return value.astype(place.value.dtype)


def _back(
    graph: ModelGraph, node: NodeProto, value: NDArray[Any], like: NDArray[Any]
) -> NDArray[Any]:
    """What a step makes `value` of, or what comes nearest to it in the type of `like`."""
    if node.op_type == "Transpose":
        return value.transpose(np.argsort(_attribute(node, "perm", range(value.ndim)[::-1])))
    if node.op_type != _DEQUANTISE:
        return value.astype(like.dtype)
    scale, point = (a.astype(np.float64) for a in _spread(graph, node, like.shape))
    numbers = value.astype(np.float64) / np.where(scale == 0, 1.0, scale) + point
    low, high, whole = _range(like.dtype)
    numbers = np.rint(numbers) if whole else numbers
    kept: NDArray[Any] = np.clip(numbers, low, high).astype(like.dtype)
    return kept


def _range(dtype: np.dtype[Any]) -> tuple[float, float, bool]:
    """Smallest and largest number of a type, and whether it has whole numbers alone."""
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        return float(info.min), float(info.max), True
    low, high = _RANGES.get(dtype.name, (-np.inf, np.inf))
    return low, high, "int" in dtype.name


def rounded(graph: ModelGraph, name: str, value: NDArray[Any]) -> NDArray[Any]:
    """What comes out if a constant is given another value, after it has been stored in its type."""
    place = typed(graph, name)
    if place is None or not place.steps:
        return value
    value = in_type(graph, place, value)
    for node in place.steps:
        value = _forth(graph, node, value)
    return value
