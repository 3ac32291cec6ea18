"""A model whose channels can be switched off at run time.

Every axis that is summed over and that lies in a group gets a mask as a further input of the graph,
multiplied onto it where it is summed.  One session then answers for any decision, without a model
being built for each; by the consumer-zero argument the answers are those of the cut model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper

from onnxslim_snacs.ir.keep import KeepMap
from onnxslim_snacs.ir.types import Axis
from onnxslim_snacs.model.edit import put_nodes
from onnxslim_snacs.ops.analyse import Analysis

_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE)


@dataclass(frozen=True)
class MaskedModel:
    """A model with a mask for every axis that can lose channels.

    Attributes:
        proto: the model.
        masks: axis -> (name of its mask, shape of the mask).
        places: axis -> position of the first node that reads its mask.
        dtype: element type of the masks.
    """

    proto: ModelProto
    masks: Mapping[Axis, tuple[str, tuple[int, ...]]]
    places: Mapping[Axis, int]
    dtype: Any

    def feeds(self, keep: KeepMap) -> dict[str, NDArray[Any]]:
        """The masks that switch off what `keep` drops."""
        found = {}
        for axis, (name, shape) in self.masks.items():
            index = keep.index(axis)
            mask = np.ones(shape, dtype=self.dtype)
            if index is not None:
                flat = np.zeros(mask.size, dtype=self.dtype)
                flat[index] = 1
                mask = flat.reshape(shape)
            found[name] = mask
        return found


def masked_model(analysis: Analysis) -> MaskedModel:
    """The original with masks.

    Args:
        analysis: the model.
    """
    model = ModelProto()
    model.CopyFrom(analysis.graph.proto)
    kind = next(
        (t.data_type for t in model.graph.initializer if t.data_type in _FLOATS), TensorProto.FLOAT
    )
    grouped = {m.axis for g in analysis.ir.groups if g.units > 1 for m in g.members}
    masks: dict[Axis, tuple[str, tuple[int, ...]]] = {}
    before: dict[int, list[NodeProto]] = {}
    for number, (position, sink) in enumerate(analysis.ir.sinks):
        if sink.axis not in grouped:
            continue
        rank = len(analysis.facts.samples(sink.axis.tensor)[0])
        extent = analysis.ir.table.extent(sink.axis)
        shape = tuple(extent if d == sink.axis.dim else 1 for d in range(rank))
        name, _ = masks.setdefault(sink.axis, (f"mask\0{len(masks)}", shape))
        node = model.graph.node[position]
        switched = f"switched\0{number}"
        before.setdefault(position, []).append(
            helper.make_node("Mul", [node.input[sink.input], name], [switched])
        )
        node.input[sink.input] = switched
    put_nodes(model.graph, before=before)
    for name, shape in masks.values():
        model.graph.input.append(helper.make_tensor_value_info(name, kind, shape))
    axes = {name: axis for axis, (name, _) in masks.items()}
    places: dict[Axis, int] = {}
    for position, node in enumerate(model.graph.node):
        for name in axes.keys() & set(node.input):
            places.setdefault(axes[name], position)
    return MaskedModel(model, masks, places, helper.tensor_dtype_to_np_dtype(kind))
