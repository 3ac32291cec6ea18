"""Constants of real numbers that lie in the file in another type or order, and the way back.

An exporter that stores bfloat16 puts a Cast in front of every layer, a quantiser DequantizeLinear,
others a Transpose.  A re-fit works with the real numbers; what it finds is written where the file
has them, in their type.
"""

from __future__ import annotations

from collections.abc import Mapping
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


#: Stored tensors that are to have other values.
Values = Mapping[str, NDArray[Any]]


def real_constant(
    graph: ModelGraph, name: str, values: Values | None = None
) -> NDArray[Any] | None:
    """The real numbers of a constant, in the shape that its readers see.

    Args:
        graph: the model.
        name: the constant.
        values: stored tensors that have other values than in the model.

    Returns:
        The numbers; None if it is not known where they lie.
    """
    place = typed(graph, name)
    if place is None:
        return None
    value = (values or {}).get(place.name, place.value)
    for node in place.steps:
        value = _forth(graph, node, value, values or {})
    return value


def _attribute(node: NodeProto, name: str, default: Any) -> Any:
    found = next((a for a in node.attribute if a.name == name), None)
    return default if found is None else helper.get_attribute_value(found)


def _forth(graph: ModelGraph, node: NodeProto, value: NDArray[Any], values: Values) -> NDArray[Any]:
    if node.op_type == "Cast":
        return value.astype(helper.tensor_dtype_to_np_dtype(_attribute(node, "to", 1)))
    if node.op_type == "Transpose":
        return value.transpose(_attribute(node, "perm", range(value.ndim)[::-1]))
    if node.op_type == _DEQUANTISE:
        scale, point = _spread(graph, node, value.shape, values)
        real: NDArray[Any] = (value.astype(scale.dtype) - point) * scale
        return real
    return value


def _spread(
    graph: ModelGraph, node: NodeProto, shape: tuple[int, ...], values: Values
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Scale and zero point, each so that it is broadcast to the numbers."""
    axis = _axis(node, shape)
    found = []
    for name in node.input[1:3]:
        value = values.get(name, stored(graph, name)) if name else None
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


def _axis(node: NodeProto, shape: tuple[int, ...]) -> int:
    return int(_attribute(node, "axis", 1)) % len(shape) if shape else 0


def in_type(
    graph: ModelGraph, place: Typed, value: NDArray[Any], scale: NDArray[Any] | None = None
) -> dict[str, NDArray[Any]]:
    """What has to be stored so that real numbers come out as near as the type allows.

    Args:
        graph: the model.
        place: where they lie.
        value: the numbers, in the shape that readers see.
        scale: of the quantiser in front of them, in its own shape, where it is to be another one.

    Returns:
        Stored tensor -> value.
    """
    kinds, found = [], dict[str, NDArray[Any]]()
    before = place.value
    for node in place.steps:
        kinds.append((node, before))
        before = _forth(graph, node, before, {})
    for node, kind in reversed(kinds):
        if node.op_type == _DEQUANTISE and scale is not None:
            found[node.input[1]] = scale
        value = _back(graph, node, value, kind, found)
    return found | {place.name: value.astype(place.value.dtype)}


def _back(
    graph: ModelGraph, node: NodeProto, value: NDArray[Any], like: NDArray[Any], values: Values
) -> NDArray[Any]:
    """What a step makes `value` of, or what comes nearest to it in the type of `like`."""
    if node.op_type == "Transpose":
        return value.transpose(np.argsort(_attribute(node, "perm", range(value.ndim)[::-1])))
    if node.op_type != _DEQUANTISE:
        return value.astype(like.dtype)
    scale, point = (a.astype(np.float64) for a in _spread(graph, node, like.shape, values))
    numbers = value.astype(np.float64) / np.where(scale == 0, 1.0, scale) + point
    low, high, whole = _range(like.dtype)
    numbers = np.rint(numbers) if whole else numbers
    kept: NDArray[Any] = np.clip(numbers, low, high).astype(like.dtype)
    return kept


def scale_of(graph: ModelGraph, place: Typed) -> str:
    """The scale by which the numbers are multiplied, "" if there is none or others read it."""
    names = [node.input[1] for node in place.steps if node.op_type == _DEQUANTISE]
    alone = len(names) == 1 and len(graph.consumers[names[0]]) == 1
    return names[0] if alone and names[0] not in graph.outputs else ""


def growth(graph: ModelGraph, place: Typed, value: NDArray[Any]) -> NDArray[Any]:
    """(1,) or (slots,) how much larger the scale has to be for numbers to lie within the type.

    A re-fit gives those that stay the work of those that went: they become larger.
    """
    position = next(k for k, n in enumerate(place.steps) if n.op_type == _DEQUANTISE)
    like = place.value
    for node in place.steps[:position]:
        like = _forth(graph, node, like, {})
    ends = [like]
    for node in place.steps[position:]:
        ends.append(_forth(graph, node, ends[-1], {}))
    for node, end in zip(reversed(place.steps[position + 1 :]), reversed(ends[1:-1]), strict=True):
        value = _back(graph, node, value, end, {})
    node = place.steps[position]
    scale, point = (a.astype(np.float64) for a in _spread(graph, node, like.shape, {}))
    low, high, _ = _range(like.dtype)
    numbers = value.astype(np.float64) / np.where(scale == 0, 1.0, scale)
    rooms = np.where(numbers > 0, high - point, low - point)
    ratio = np.divide(numbers, rooms, out=np.zeros_like(numbers), where=rooms != 0)
    if scale.size == 1:
        return np.array([max(1.0, float(ratio.max(initial=1.0)))])
    axis = _axis(node, like.shape)
    rest = tuple(d for d in range(ratio.ndim) if d != axis)
    largest: NDArray[Any] = ratio.max(axis=rest, initial=1.0)
    return largest


def _range(dtype: np.dtype[Any]) -> tuple[float, float, bool]:
    """Smallest and largest number of a type, and whether it has whole numbers alone."""
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        return float(info.min), float(info.max), True
    low, high = _RANGES.get(dtype.name, (-np.inf, np.inf))
    return low, high, "int" in dtype.name
