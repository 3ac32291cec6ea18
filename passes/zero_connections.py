"""Write zeros into connections: weights change, shapes and everything else stay."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from onnxslim_snacs.errors import InternalError, foreign
from onnxslim_snacs.ir.types import BoolArray, Sink
from onnxslim_snacs.model.edit import add_initializer, free_name, taken_names, write_tensor
from onnxslim_snacs.model.share import rejoin
from onnxslim_snacs.ops.analyse import Analysis
from onnxslim_snacs.passes.tidy import remove_dead_nodes


def zero_connections(analysis: Analysis, goes: Mapping[int, BoolArray]) -> ModelProto:
    """The model without some of its connections.

    A weight that other nodes read too stays as it is for them.

    Args:
        analysis: the model.
        goes: position of an ungrouped layer's node -> (made channels, met channels) whether the
            connection, with all its taps, goes.

    Returns:
        A new model; the analysed one is not changed.

    Raises:
        InternalError: there is no layer with a known weight at a position.
    """
    model = ModelProto()
    model.CopyFrom(analysis.graph.proto)
    graph = model.graph
    stored = {tensor.name: tensor for tensor in graph.initializer}
    outputs = set(analysis.graph.outputs)
    layers = {position: sink for position, sink in analysis.ir.sinks if sink.weight is not None}
    suspects: set[str] = set()
    for position, mask in goes.items():
        if not mask.any():
            continue
        sink = layers.get(position)
        if sink is None or sink.weight is None or sink.weight_input is None:
            raise InternalError(f"no layer at {foreign(analysis.nodes[position].name)}")
        name, array = sink.weight.tensor, _without(analysis, sink, mask)
        alone = len(analysis.graph.consumers[name]) == 1 and name not in outputs
        if name in stored and alone:
            write_tensor(stored[name], array)
            continue
        own = add_initializer(model, free_name(f"{name}.{position}", taken_names(graph)), array)
        graph.node[position].input[sink.weight_input] = own
        suspects.add(name)
    remove_dead_nodes(model, suspects)
    rejoin(model, analysis.copies)
    return model


def _without(analysis: Analysis, sink: Sink, mask: BoolArray) -> NDArray[Any]:
    """The weight of a layer with zeros at its masked connections."""
    assert sink.weight is not None
    value = analysis.facts.value(sink.weight.tensor)
    if value is None or sink.weight_out is None:
        raise InternalError(f"the weight {foreign(sink.weight.tensor)} is not known")
    array = value.copy()
    connections = np.moveaxis(array, (sink.weight_out.dim, sink.weight.dim), (0, 1))
    connections[mask] = 0
    return array
