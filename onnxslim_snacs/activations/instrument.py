"""Reductions appended to a copy of a graph, so that only small results leave the device.

Nodes are appended with onnx.helper: nothing of the model itself is read or rewritten, so whatever
ONNX Runtime can run can be instrumented.

Two things keep the cost close to that of the plain model.  Means over the positions of an image
use GlobalAveragePool, which understands ONNX Runtime's blocked layout, where ReduceMean would bring
in a conversion.  And the reductions are appended deepest first: ONNX Runtime walks the graph from
its last leaf, so each reduction runs soon after the activation that it reads, which can then be
freed; appended shallowest first, all activations stay in memory until the network has run.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from onnxslim_snacs.activations.requests import (
    GramRequest,
    MomentRequest,
    PooledRequest,
    RangeRequest,
    Request,
)
from onnxslim_snacs.errors import InputRefused, InternalError, foreign
from onnxslim_snacs.model.facts import ModelFacts
from onnxslim_snacs.model.graph import ModelGraph

_AXES_ARE_INPUTS = 18


@dataclass(frozen=True, slots=True)
class Instrumented:
    """A model that answers requests.

    Attributes:
        proto: the model; its outputs are the reductions.
        outputs: request -> names of its reductions, by kind: "rows" and "squares" (sample, channel)
            or (channel,), "low" and "high" (channel,), "products" (channel, channel), "shape".
        images: whether most of the tensors are images: (sample, channel, height, width).
    """

    proto: ModelProto
    outputs: dict[Request, dict[str, str]]
    images: bool


def instrument(facts: ModelFacts, requests: Iterable[Request]) -> Instrumented:
    """Append reductions to a copy of a model.

    Args:
        facts: the model and the shapes of its tensors.
        requests: what to reduce.

    Raises:
        InputRefused: ONNX Runtime cannot run the model.
        InternalError: a request names a tensor or a dimension that is not there.
    """
    if not facts.ran:
        raise InputRefused(f"ONNX Runtime cannot run this model: {facts.note}")
    writer = _Writer(facts, _free_prefix(facts.graph))
    outputs = {request: _reductions(writer, request) for request in dict.fromkeys(requests)}
    proto = ModelProto()
    proto.CopyFrom(facts.graph.proto)
    depth = facts.graph.producer
    for tensor in sorted(writer.nodes, key=lambda name: depth.get(name, -1), reverse=True):
        proto.graph.node.extend(writer.nodes[tensor])
    del proto.graph.output[:]
    names = dict.fromkeys(name for kinds in outputs.values() for name in kinds.values())
    proto.graph.output.extend(ValueInfoProto(name=name) for name in names)
    if "" not in facts.graph.opsets:
        proto.opset_import.append(helper.make_opsetid("", _AXES_ARE_INPUTS - 1))
    ranks = [writer.rank(tensor) for tensor in writer.nodes]
    return Instrumented(proto, outputs, 2 * sum(rank == 4 for rank in ranks) > len(ranks))


def _reductions(writer: _Writer, request: Request) -> dict[str, str]:
    tensor, channel = request.tensor, request.channel_dim
    if not 0 <= channel < writer.rank(tensor):
        raise InternalError(
            f"{foreign(tensor)}: channel dimension {channel} of {writer.rank(tensor)}"
        )
    if isinstance(request, PooledRequest):
        return {"rows": writer.mean(tensor, channel, request.sample_dim)}
    if isinstance(request, RangeRequest):
        return {
            "low": writer.reduce("ReduceMin", tensor, (channel,)),
            "high": writer.reduce("ReduceMax", tensor, (channel,)),
        }
    # a mean for each entry of dimension 0 is added up in float64, a mean of all would not be
    first = 0 if channel else None
    common = {"shape": writer.shape(tensor), "rows": writer.mean(tensor, channel, first)}
    if isinstance(request, MomentRequest):
        return {**common, "squares": writer.mean(tensor, channel, first, squared=True)}
    if isinstance(request, GramRequest):
        return {**common, "products": writer.gram(tensor, channel)}


@dataclass
class _Writer:
    """Writes nodes, each only once.

    Attributes:
        facts: the model.
        prefix: begins no name of the model.
        nodes: tensor -> nodes that reduce it, in order.
        names: what a node computes -> name of its output.
    """

    facts: ModelFacts
    prefix: str
    nodes: dict[str, list[NodeProto]] = field(default_factory=dict)
    names: dict[tuple[object, ...], str] = field(default_factory=dict)

    def rank(self, tensor: str) -> int:
        """Number of dimensions.

        Raises:
            InternalError: the tensor is not known, or its shape is not.
        """
        shapes = self.facts.samples(tensor)
        if not shapes:
            raise InternalError(f"{foreign(tensor)}: no such activation, or its shape is not known")
        return len(shapes[0])

    def node(self, tensor: str, op: str, *inputs: str, **attributes: Any) -> str:
        """Name of the output of a node that takes part in reducing `tensor`."""
        key = (tensor, op, inputs, repr(attributes))
        if key not in self.names:
            self.names[key] = f"{self.prefix}{len(self.names)}"
            made = helper.make_node(op, list(inputs), [self.names[key]], **attributes)
            self.nodes.setdefault(tensor, []).append(made)
        return self.names[key]

    def values(self, tensor: str) -> str:
        """The tensor in float32; ONNX Runtime drops the Cast where it is that already."""
        return self.node(tensor, "Cast", tensor, to=TensorProto.FLOAT)

    def shape(self, tensor: str) -> str:
        """The tensor's shape."""
        return self.node(tensor, "Shape", tensor)

    def mean(self, tensor: str, channel: int, sample: int | None, *, squared: bool = False) -> str:
        """Mean of the values or of their squares, over all dimensions but one or two."""
        values = self.values(tensor)
        if squared:
            values = self.node(tensor, "Mul", values, values)
        if self.rank(tensor) == 4 and (sample, channel) == (0, 1):
            return self.node(tensor, "GlobalAveragePool", values)
        kept = (channel,) if sample is None else (sample, channel)
        return self.reduce("ReduceMean", tensor, kept, values)

    def reduce(self, op: str, tensor: str, kept: tuple[int, ...], values: str = "") -> str:
        """Reduction over all dimensions but those kept."""
        values = values or self.values(tensor)
        axes = [dim for dim in range(self.rank(tensor)) if dim not in kept]
        if not axes:
            return values
        if self.facts.graph.opsets.get("", 0) < _AXES_ARE_INPUTS:
            return self.node(tensor, op, values, axes=axes, keepdims=0)
        constant = numpy_helper.from_array(np.array(axes, dtype=np.int64))
        where = self.node(tensor, "Constant", value=constant)
        return self.node(tensor, op, values, where, keepdims=0)

    def gram(self, tensor: str, channel: int) -> str:
        """Sum over all positions of x x^T, (channel, channel)."""
        values, rank = self.values(tensor), self.rank(tensor)
        if channel == rank - 1:
            right = self.node(tensor, "Flatten", values, axis=channel)  # (position, channel)
            left = self.node(tensor, "Transpose", right, perm=[1, 0])
            return self.node(tensor, "MatMul", left, right)
        first = [channel, *(dim for dim in range(rank) if dim != channel)]
        moved = self.node(tensor, "Transpose", values, perm=first)
        left = self.node(tensor, "Flatten", moved, axis=1)  # (channel, position)
        right = self.node(tensor, "Transpose", left, perm=[1, 0])
        return self.node(tensor, "MatMul", left, right)


def _free_prefix(graph: ModelGraph) -> str:
    """A prefix that no name of the model has."""
    names = {*graph.producer, *graph.initializers, *(v.name for v in graph.graph.input)}
    prefix = "snacs_"
    while any(name.startswith(prefix) for name in names):
        prefix += "_"
    return prefix
