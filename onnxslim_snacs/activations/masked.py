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

from onnxslim_snacs.activations.sources import Batch
from onnxslim_snacs.ir.keep import KeepMap
from onnxslim_snacs.ir.types import Axis
from onnxslim_snacs.model.session import SessionConfig, create_session
from onnxslim_snacs.ops.analyse import Analysis

_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE)


@dataclass(frozen=True)
class MaskedSession:
    """A session with a mask for every axis that can lose channels.

    Attributes:
        session: ONNX Runtime's session.
        masks: axis -> (name of its mask, shape of the mask, extent of the axis).
        dtype: element type of the masks.
    """

    session: Any
    masks: Mapping[Axis, tuple[str, tuple[int, ...]]]
    dtype: Any

    def run(self, batch: Batch, keep: KeepMap) -> list[NDArray[Any]]:
        """The floating outputs for one batch with what `keep` drops switched off."""
        feeds: dict[str, NDArray[Any]] = dict(batch.inputs)
        for axis, (name, shape) in self.masks.items():
            mask = np.ones(shape, dtype=self.dtype)
            index = keep.index(axis)
            if index is not None:
                flat = np.zeros(mask.size, dtype=self.dtype)
                flat[index] = 1
                mask = flat.reshape(shape)
            feeds[name] = mask
        outputs = [np.asarray(o) for o in self.session.run(None, feeds)]
        return [o for o in outputs if o.dtype.kind == "f"]


def masked_session(analysis: Analysis, config: SessionConfig) -> MaskedSession:
    """Open a session over the original with masks.

    Args:
        analysis: the model.
        config: how to run it.
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
    nodes = [NodeProto.FromString(node.SerializeToString()) for node in model.graph.node]
    del model.graph.node[:]
    for position, node in enumerate(nodes):
        model.graph.node.extend([*before.get(position, []), node])
    for name, shape in masks.values():
        model.graph.input.append(helper.make_tensor_value_info(name, kind, shape))
    session = create_session(model, config, analysis.graph.base_dir)
    return MaskedSession(session, masks, helper.tensor_dtype_to_np_dtype(kind))
