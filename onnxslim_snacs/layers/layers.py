"""The layers that can be re-fitted: a product with stored weights, whose input has changed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxslim_snacs.ir.keep import KeepMap
from onnxslim_snacs.ir.types import Axis, Sink
from onnxslim_snacs.layers.typed import real_constant
from onnxslim_snacs.model.graph import ModelGraph
from onnxslim_snacs.model.graph import stored as stored
from onnxslim_snacs.model.pieces import reads
from onnxslim_snacs.ops import OPERATORS
from onnxslim_snacs.ops.analyse import Analysis
from onnxslim_snacs.ops.node import known, op_key
from onnxslim_snacs.ops.products import LayerForm, Weight

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer of the cut model.

    Attributes:
        position: of its node in the cut model.
        name: of its node.
        op: its operator.
        trained: what its rule says of its weights.
        data: the tensor that it reads.
        data_dim: the axis of that tensor that is summed over.
        out: the tensor that it writes.
        out_dim: the axis of that tensor that holds its output channels.
        weight: the stored tensor with its weights.
        weight_input: its position among the node's inputs.
        made: the axis of the weights that makes output channels.
        met: the axis of the weights that meets input channels.
        groups: blocks of a grouped convolution.
        rank: rank of its output.
        outputs: number of its output channels.
        kernel: taps of a convolution, () of a matrix product.
    """

    position: int
    name: str
    op: str
    trained: Weight
    data: str
    data_dim: int
    out: str
    out_dim: int
    weight: str
    weight_input: int
    made: int
    met: int
    groups: int
    rank: int
    outputs: int
    kernel: tuple[int, ...]

    @property
    def is_matrix(self) -> bool:
        """Whether it multiplies vectors with a matrix, or else patches with filters."""
        return self.trained.form is LayerForm.MATRIX

    @property
    def transposed(self) -> bool:
        """Whether it is a transposed convolution."""
        return self.trained.form is LayerForm.TRANSPOSED


@dataclass(frozen=True, slots=True)
class NotFitted:
    """A layer that is left as the cut has made it.

    Attributes:
        name: of its node.
        op: its operator.
        reason: why.
    """

    name: str
    op: str
    reason: str


def layers_of(
    analysis: Analysis, keep: KeepMap, cut: ModelGraph
) -> list[tuple[Layer | NotFitted, str]]:
    """All layers of the cut model in its order, with what they write.

    Args:
        analysis: the original.
        keep: what the plan keeps.
        cut: the cut model.
    """
    found: list[tuple[int, Layer | NotFitted, str]] = []
    for position, sink in analysis.ir.sinks:
        node = analysis.nodes[position]
        out = next(o for o in node.outputs if o)
        place = cut.producer.get(out)
        reason = _refusal(analysis, sink, node.op, place, cut, keep)
        if reason or place is None:
            if _has_weight(analysis, sink):
                found.append((position, NotFitted(node.name, node.op, reason), out))
            continue
        found.append((place, _layer(analysis, sink, place, cut), out))
    found.sort(key=lambda item: item[0])
    return [(layer, out) for _, layer, out in found]


def original_layers(analysis: Analysis) -> Iterator[tuple[Axis, Layer]]:
    """The layers of the original that could be re-fitted, each with the axis that it reads."""
    whole = KeepMap({})
    for position, sink in analysis.ir.sinks:
        op = analysis.nodes[position].op
        if not _refusal(analysis, sink, op, position, analysis.graph, whole):
            yield sink.axis, _layer(analysis, sink, position, analysis.graph)


def _layer(analysis: Analysis, sink: Sink, place: int, cut: ModelGraph) -> Layer:
    assert sink.weight is not None
    assert sink.weight_out is not None
    assert sink.weight_input is not None
    assert sink.out is not None
    node, weight = cut.nodes[place], real_constant(cut, sink.weight.tensor)
    trained = _trained(op_key(node))
    groups = next((int(a.i) for a in node.attribute if a.name == "group"), 1)
    assert weight is not None
    assert trained is not None
    made = weight.shape[sink.weight_out.dim]
    return Layer(
        position=place,
        name=node.name or sink.out.tensor,
        op=node.op_type,
        trained=trained,
        data=sink.axis.tensor,
        data_dim=sink.axis.dim,
        out=sink.out.tensor,
        out_dim=sink.out.dim,
        weight=sink.weight.tensor,
        weight_input=sink.weight_input,
        made=sink.weight_out.dim,
        met=sink.weight.dim,
        groups=groups,
        rank=len(known(analysis.facts.shape(sink.out.tensor))),
        outputs=made * groups if trained.form is LayerForm.TRANSPOSED else made,
        kernel=weight.shape[2:],
    )


def changed_tensors(analysis: Analysis, keep: KeepMap) -> set[str]:
    """Tensors whose kept part has other values than in the original."""
    cut_here = {p for p, sink in analysis.ir.sinks if keep.index(sink.axis) is not None}
    cut_here |= {body.position for body in analysis.bodies if body.analysis.loses(keep)}
    changed: set[str] = set()
    for position, node in enumerate(analysis.nodes):
        inexact = node.allow_inexact and keep.touches(node.inputs)
        if inexact or position in cut_here or not changed.isdisjoint(reads(node.proto)):
            changed.update(o for o in node.outputs if o)
    return changed


def _trained(op: str) -> Weight | None:
    """What is said of the weights of an operator that can be re-fitted."""
    rule = OPERATORS.get(op)
    weight = None if rule is None else rule.weight
    return weight if weight is not None and weight.form is not None else None


def _has_weight(analysis: Analysis, sink: Sink) -> bool:
    return sink.weight is not None and analysis.facts.is_weight(sink.weight.tensor)


def _refusal(
    analysis: Analysis, sink: Sink, op: str, place: int | None, cut: ModelGraph, keep: KeepMap
) -> str:
    """Why a layer cannot be re-fitted; "" if it can."""
    if sink.out is not None and analysis.facts.shape(sink.out.tensor) is None:
        return "the shape of its output is not known"
    trained = _trained(op)
    if trained is None:
        return f"operator {op} is not re-fitted"
    if sink.weight is None or sink.weight_out is None or sink.out is None:
        return "it has no axis of output channels of its own"
    if place is None or op_key(cut.nodes[place]) != op:
        return "the cut has replaced its node"
    if sink.axis.tensor not in cut.nodes[place].input or sink.weight.tensor not in (
        cut.nodes[place].input
    ):
        return "the cut has changed its inputs"
    weight = real_constant(cut, sink.weight.tensor)
    if weight is None:
        return "its weights are computed, not stored"
    if weight.dtype.kind != "f":
        return f"its weights are {weight.dtype}"
    if trained.form is LayerForm.MATRIX and weight.ndim != 2:
        return "its weights differ along a batch axis"
    if len(cut.consumers.get(sink.weight.tensor, ())) > 1 or sink.weight.tensor in cut.outputs:
        return "its weights are shared with other layers"
    if any(axis.tensor == sink.out.tensor and axis in keep.periods for axis in keep.kept):
        return "its output is cut along an axis of changing extent"
    return ""


def weight_blocks(layer: Layer, weight: NDArray[Any]) -> FloatArray:
    """Weights as (groups, features, outputs); the features of a convolution are (tap, channel)."""
    w = weight.astype(np.float64)
    if layer.is_matrix:
        return np.moveaxis(w, (layer.met, layer.made), (0, 1))[None]
    g, taps = layer.groups, w.shape[2:]
    if not layer.transposed:  # (g o) c taps -> g (taps c) o
        o, c = w.shape[0] // g, w.shape[1]
        return w.reshape(g, o, c, -1).transpose(0, 3, 2, 1).reshape(g, -1, o)
    # ConvTranspose, as a convolution with mirrored taps: (g c) o taps -> g (taps c) o
    flipped = np.flip(w, axis=tuple(range(2, 2 + len(taps))))
    c, o = w.shape[0] // g, w.shape[1]
    return flipped.reshape(g, c, o, -1).transpose(0, 3, 1, 2).reshape(g, -1, o)


def weight_from_blocks(layer: Layer, blocks: FloatArray, like: NDArray[Any]) -> NDArray[Any]:
    """The inverse of `weight_blocks`: (groups, features, outputs) in shape and type of `like`."""
    if layer.is_matrix:
        matrix: NDArray[Any] = np.moveaxis(blocks[0], (0, 1), (layer.met, layer.made))
        return matrix.astype(like.dtype)
    g, taps = layer.groups, like.shape[2:]
    size = int(np.prod(taps))
    if not layer.transposed:
        o, c = like.shape[0] // g, like.shape[1]
        stacked: FloatArray = blocks.reshape(g, size, c, o).transpose(0, 3, 2, 1)
        w: NDArray[Any] = stacked.reshape(like.shape).astype(like.dtype)
        return w
    c, o = like.shape[0] // g, like.shape[1]
    whole = blocks.reshape(g, size, c, o).transpose(0, 2, 3, 1).reshape(like.shape)
    mirrored: NDArray[Any] = np.flip(whole, axis=tuple(range(2, 2 + len(taps))))
    return mirrored.astype(like.dtype)
