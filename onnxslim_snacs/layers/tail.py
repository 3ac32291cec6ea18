"""What follows a layer: per-channel affine maps, and the sum into which they may lead."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, helper

from onnxslim_snacs.layers.layers import Layer, stored
from onnxslim_snacs.layers.moments import FloatArray
from onnxslim_snacs.model.facts import ModelFacts
from onnxslim_snacs.model.graph import ModelGraph


@dataclass(frozen=True, slots=True)
class BiasPlace:
    """A stored vector that is added to, or taken off, a layer's output channels.

    Attributes:
        reader: a tensor that the reading node writes.
        input: position of the vector among that node's inputs.
        sign: +1 where it is added, -1 where it is taken off.
    """

    reader: str
    input: int
    sign: float


@dataclass(frozen=True, slots=True)
class Tail:
    """z = scale * y + shift for the output y of a layer, and perhaps a sum z + other.

    Attributes:
        end: the tensor z.
        scale: (o,).
        shift: (o,).
        total: the sum, None if there is none.
        other: its other operand.
        low: below it, all that read the end (or the sum if there is one) are flat; -inf without.
        high: above it.
        bias: where a bias can be added behind the layer.
    """

    end: str
    scale: FloatArray
    shift: FloatArray
    total: str | None = None
    other: str | None = None
    low: float = -inf
    high: float = inf
    bias: BiasPlace | None = None

    @property
    def alone(self) -> Tail:
        """The same as far as the layer itself goes, not up to the sum into which it runs."""
        return replace(self, total=None, other=None, low=-inf, high=inf)


def runs_into_sum(facts: ModelFacts, layer: Layer, tail: Tail) -> bool:
    """Whether a layer has one row for each row of the sum behind it.

    What is the same for every sample (positions or queries that a layer projects) is spread over
    the batch there, so that no row of the layer alone answers for a row of the sum.
    """
    made, total = facts.samples(layer.out), facts.samples(tail.total or "")
    return bool(made) and made == total


def follow(cut: ModelGraph, layer: Layer) -> Tail:
    """Go along per-channel affine maps as long as nobody else reads on the way.

    Args:
        cut: the cut model.
        layer: where to begin.
    """
    tail = Tail(layer.out, np.ones(layer.outputs), np.zeros(layer.outputs))
    while True:
        reader = _only_reader(cut, tail.end)
        if reader is None:
            break
        step = _affine(cut, reader, tail.end, layer)
        if step is None:
            break
        scale, shift, place = step
        tail = replace(
            tail,
            end=reader.output[0],
            scale=tail.scale * scale,
            shift=tail.shift * scale + shift,
            bias=tail.bias if tail.end != layer.out else place,
        )
    last = tail.end
    if reader is not None and (rounded := _rounded(cut, reader, last)) is not None:
        last, reader = rounded, _only_reader(cut, rounded)
    if reader is not None and reader.op_type in ("Add", "Sum") and len(reader.input) == 2:
        a, b = reader.input
        other = b if a == last else a
        if other != last:
            tail = replace(tail, total=reader.output[0], other=other)
    low, high = _flat_beyond(cut, tail.total or tail.end)
    return replace(tail, low=low, high=high)


def _rounded(cut: ModelGraph, node: NodeProto, data: str) -> str | None:
    """What comes out where a tensor is quantised and dequantised by the same numbers."""
    if node.op_type != "QuantizeLinear" or node.input[0] != data:
        return None
    back = _only_reader(cut, node.output[0])
    if back is None or back.op_type != "DequantizeLinear" or back.input[0] != node.output[0]:
        return None
    there, again = (quantiser(cut, one) for one in (node, back))
    return back.output[0] if there is not None and there == again else None


def quantiser(cut: ModelGraph, node: NodeProto) -> tuple[float, float, float, float] | None:
    """Scale, zero point, and least and largest whole number of a node that (de)quantises.

    Returns:
        None where they are not stored, or not the same for the whole tensor.
    """
    scale = stored(cut, node.input[1])
    point = stored(cut, node.input[2]) if len(node.input) > 2 and node.input[2] else None
    if scale is None or scale.size != 1 or point is None or point.size != 1:
        return None
    if point.dtype.kind not in "iu":
        return None
    ends = np.iinfo(point.dtype)
    return float(scale.reshape(-1)[0]), float(point.reshape(-1)[0]), ends.min, ends.max


def _flat_beyond(cut: ModelGraph, tensor: str) -> tuple[float, float]:
    """Between which values the readers of a tensor tell one from another."""
    readers = [cut.nodes[p] for p in cut.consumers.get(tensor, ())]
    if not readers or tensor in cut.outputs:
        return -inf, inf
    bounds = [_bounds(cut, node, tensor) for node in readers]
    return min(low for low, _ in bounds), max(high for _, high in bounds)


def _bounds(cut: ModelGraph, node: NodeProto, tensor: str) -> tuple[float, float]:
    if node.op_type == "Relu":
        return 0.0, inf
    if node.op_type == "QuantizeLinear" and node.input[0] == tensor:
        found = quantiser(cut, node)
        if found is None:
            return -inf, inf
        scale, point, least, most = found
        return scale * (least - point), scale * (most - point)
    if node.op_type != "Clip" or node.input[0] != tensor:
        return -inf, inf
    attributes = {a.name: float(a.f) for a in node.attribute if a.name in ("min", "max")}
    ends = [attributes.get("min", -inf), attributes.get("max", inf)]
    for k, name in enumerate(node.input[1:3]):
        value = stored(cut, name) if name else None
        if name and value is None:
            return -inf, inf
        if value is not None:
            ends[k] = float(value.reshape(-1)[0])
    return ends[0], ends[1]


def _only_reader(cut: ModelGraph, tensor: str) -> NodeProto | None:
    readers = cut.consumers.get(tensor, ())
    if len(readers) != 1 or tensor in cut.outputs:
        return None
    node = cut.nodes[readers[0]]
    return node if list(node.input).count(tensor) == 1 else None


def _affine(
    cut: ModelGraph, node: NodeProto, data: str, layer: Layer
) -> tuple[FloatArray, FloatArray, BiasPlace | None] | None:
    """(scale, shift, where a bias can go) of a node that is affine for each channel."""
    zeros, ones = np.zeros(layer.outputs), np.ones(layer.outputs)
    if node.op_type == "Identity" or (node.op_type == "Dropout" and _at_rest(cut, node)):
        return ones, zeros, None
    if node.op_type == "BatchNormalization" and node.input[0] == data and layer.out_dim == 1:
        return _batch_norm(cut, node)
    if node.op_type not in ("Add", "Sub", "Mul", "Div") or len(node.input) != 2:
        return None
    here = list(node.input).index(data)
    constant = channel_vector(stored(cut, node.input[1 - here]), layer)
    if constant is None:
        return None
    if node.op_type == "Add":
        return ones, constant, BiasPlace(node.output[0], 1 - here, 1.0)
    if node.op_type == "Sub":
        # y + bias - constant and constant - (y + bias): both times it comes off the constant
        place = BiasPlace(node.output[0], 1 - here, -1.0)
        return (ones, -constant, place) if here == 0 else (-ones, constant, place)
    if node.op_type == "Mul":
        return constant, zeros, None
    if here == 0 and np.all(constant != 0):
        return 1.0 / constant, zeros, None
    return None


def _at_rest(cut: ModelGraph, node: NodeProto) -> bool:
    """Whether a Dropout does nothing."""
    if len(node.output) > 1 and node.output[1]:
        return False
    if len(node.input) > 2 and node.input[2]:
        mode = stored(cut, node.input[2])
        return mode is not None and not bool(mode)
    return not any(a.name == "is_test" and not a.i for a in node.attribute)


def _batch_norm(
    cut: ModelGraph, node: NodeProto
) -> tuple[FloatArray, FloatArray, BiasPlace] | None:
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    if attributes.get("training_mode", 0) or attributes.get("spatial", 1) == 0:
        return None
    if any(node.output[1:]):
        return None
    values = [stored(cut, name) for name in node.input[1:5]]
    if any(v is None for v in values):
        return None
    gamma, beta, mean, variance = (np.asarray(v, dtype=np.float64) for v in values)
    scale = gamma / np.sqrt(variance + attributes.get("epsilon", 1e-5))
    return scale, beta - mean * scale, BiasPlace(node.output[0], 3, -1.0)


def channel_vector(value: NDArray[Any] | None, layer: Layer) -> FloatArray | None:
    """A constant that varies along a layer's output channels only, as (outputs,)."""
    if value is None or value.dtype.kind != "f" or value.ndim > layer.rank:
        return None
    shape = (1,) * (layer.rank - value.ndim) + value.shape
    if any(extent != 1 for d, extent in enumerate(shape) if d != layer.out_dim):
        return None
    flat = value.astype(np.float64).reshape(-1)
    usable = flat.size in (1, layer.outputs)
    return np.broadcast_to(flat, (layer.outputs,)).copy() if usable else None
