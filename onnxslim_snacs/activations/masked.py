"""A model whose channels can be switched off at run time.

Every axis that is summed over and that lies in a group gets a mask as a further input of the graph,
multiplied onto it where it is summed.  One session then answers for any decision, without a model
being built for each; by the consumer-zero argument the answers are those of the cut model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper

from onnxslim_snacs.ir.keep import KeepMap
from onnxslim_snacs.ir.types import Axis
from onnxslim_snacs.model.blank import blank
from onnxslim_snacs.model.body import put_body
from onnxslim_snacs.model.edit import put_nodes
from onnxslim_snacs.model.element_types import element_types
from onnxslim_snacs.model.pieces import reads
from onnxslim_snacs.ops.analyse import Analysis
from onnxslim_snacs.ops.node import known

_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE)


@dataclass(frozen=True, slots=True)
class Mask:
    """The mask of one axis.

    Attributes:
        name: the input that takes it.
        shape: its shape: the extent of the axis, and ones.
        dtype: that of the tensor, if it is floating: a product costs half of a selection; booleans
            for any other.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]


@dataclass(frozen=True)
class MaskedModel:
    """A model with a mask for every axis that can lose channels.

    Attributes:
        proto: the model.
        masks: axis -> its mask.
        places: axis -> position of the first node that reads its mask.
    """

    proto: ModelProto
    masks: Mapping[Axis, Mask]
    places: Mapping[Axis, int]

    def feeds(self, keep: KeepMap) -> dict[str, NDArray[Any]]:
        """The masks that switch off what `keep` drops."""
        found = {}
        for axis, mask in self.masks.items():
            index = keep.index(axis)
            flat = np.full(prod(mask.shape), index is None, dtype=mask.dtype)
            if index is not None:
                flat[index] = True
            found[mask.name] = flat.reshape(mask.shape)
        return found


def masked_model(analysis: Analysis) -> MaskedModel:
    """The original with masks; the bodies of control flow read them from around.

    Args:
        analysis: the model.
    """
    grouped = {m.axis for g in analysis.ir.groups if g.units > 1 for m in g.members}
    masks: dict[Axis, Mask] = {}
    model = _masked(analysis, grouped, masks)
    for mask in masks.values():
        kind = helper.np_dtype_to_tensor_dtype(mask.dtype)
        model.graph.input.append(helper.make_tensor_value_info(mask.name, kind, mask.shape))
    axes = {mask.name: axis for axis, mask in masks.items()}
    places: dict[Axis, int] = {}
    for position, node in enumerate(model.graph.node):
        for name in axes.keys() & set(reads(node)):
            places.setdefault(axes[name], position)
    return MaskedModel(model, masks, places)


def _masked(part: Analysis, grouped: set[Axis], masks: dict[Axis, Mask]) -> ModelProto:
    """A graph or a body with a product or a selection wherever it sums; `masks` grows."""
    model = ModelProto()
    model.CopyFrom(part.graph.proto)
    for body in part.bodies:
        node = model.graph.node[body.position]
        put_body(node, body.attribute, _masked(body.analysis, grouped, masks))
    sinks = [(p, *s.zeros, s.zero) for p, s in part.ir.sinks if s.zeros[0] in grouped]
    kinds = element_types(
        part.graph.proto, (axis.tensor for _, axis, _, _ in sinks), part.graph.base_dir
    )
    opset = part.graph.opsets.get("", 1)
    before: dict[int, list[NodeProto]] = {}
    for number, (position, axis, operand, zero) in enumerate(sinks):
        kind = kinds[axis.tensor]
        mask = masks.setdefault(axis, _mask(part, axis, kind, len(masks)))
        node, switched = model.graph.node[position], f"switched\0{part.prefix}{number}"
        source = node.input[operand]
        before.setdefault(position, []).extend(
            [helper.make_node("Mul", [source, mask.name], [switched])]
            if kind in _FLOATS
            else blank(source, switched, mask.name, kind, opset, zero)
        )
        node.input[operand] = switched
    put_nodes(model.graph, before=before)
    return model


def _mask(analysis: Analysis, axis: Axis, kind: int, number: int) -> Mask:
    rank, extent = len(known(analysis.facts.shape(axis.tensor))), analysis.ir.table.extent(axis)
    shape = tuple(extent if dim == axis.dim else 1 for dim in range(rank))
    dtype = helper.tensor_dtype_to_np_dtype(kind) if kind in _FLOATS else np.dtype(bool)
    return Mask(f"mask\0{number}", shape, dtype)
