"""The tensors by which a model answers: in front of a last softmax or sigmoid, which flattens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from onnx import NodeProto, TensorProto

from onnxslim_snacs.model.graph import ModelGraph
from onnxslim_snacs.torch_graph.late import torch

if TYPE_CHECKING:
    from torch import Tensor

_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)
#: Operators that squash what they are given.
_SQUASH = ("Softmax", "LogSoftmax", "Sigmoid")
#: Operators that leave every number as it is.
_SAME = ("Identity", "Cast", "Reshape", "Flatten", "Squeeze", "Unsqueeze")


def answer_tensors(graph: ModelGraph) -> dict[str, str]:
    """Output -> the tensor in front of its softmax or sigmoid, or the output itself.

    Outputs that are no floats are left out, unless there are no others.
    """
    kinds = {info.name: info.type.tensor_type.elem_type for info in graph.graph.output}
    floats = [name for name in graph.outputs if kinds[name] in _FLOATS] or list(graph.outputs)
    return {name: _unsquashed(graph, name) for name in floats}


def _unsquashed(graph: ModelGraph, name: str) -> str:
    node = _producer(graph, name)
    while node is not None and node.op_type in _SAME:
        node = _producer(graph, node.input[0])
    if node is None or node.op_type not in _SQUASH or node.domain not in ("", "ai.onnx"):
        return name
    return str(node.input[0])


def _producer(graph: ModelGraph, name: str) -> NodeProto | None:
    position = graph.producer.get(name)
    return None if position is None else graph.nodes[position]


def chosen(found: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Tensor]:
    """What a run has made of the answer tensors, by output; sequences and whole numbers aside."""
    return {
        output: found[tensor]
        for output, tensor in names.items()
        if isinstance(found[tensor], torch.Tensor) and found[tensor].is_floating_point()
    }
