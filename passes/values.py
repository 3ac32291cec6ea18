"""Put new numbers into the stored tensors of a model that is being written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from onnxslim_snacs.model.graph import node_constant
from onnxslim_snacs.model.mapped import tensor_array


def get_value(model: ModelProto, name: str, base_dir: Path | None = None) -> NDArray[Any]:
    """The value of an initializer or of a Constant node."""
    for tensor in model.graph.initializer:
        if tensor.name == name:
            return tensor_array(tensor, base_dir)
    for node in model.graph.node:
        value = node_constant(node) if node.output[0] == name else None
        if value is not None:
            return value
    raise KeyError(name)


def set_value(model: ModelProto, name: str, value: NDArray[Any]) -> None:
    """Give an initializer or a Constant node another value of the same type."""
    for tensor in model.graph.initializer:
        if tensor.name == name:
            _write(tensor, value)
            return
    for node in model.graph.node:
        if node.op_type == "Constant" and node.output[0] == name:
            _write_constant(node, value)
            return
    raise KeyError(name)


def set_input(
    model: ModelProto, node: NodeProto, index: int, value: NDArray[Any], *, readers: int
) -> None:
    """Give one input of one node another constant.

    Args:
        model: the model, changed in place.
        node: the node, changed in place.
        index: position of the input, which may be missing so far.
        value: the constant.
        readers: how many nodes read the present constant; if it is not this one alone, the node
            gets one of its own.
    """
    node.input.extend([""] * (index + 1 - len(node.input)))
    if node.input[index] and readers == 1:
        set_value(model, node.input[index], value)
        return
    name = f"{node.output[0]}_recovered_{index}"
    node.input[index] = name
    add_initializer(model, name, value)


def add_initializer(model: ModelProto, name: str, value: NDArray[Any]) -> None:
    """Store a new constant."""
    model.graph.initializer.append(numpy_helper.from_array(np.asarray(value, order="C"), name))
    if model.ir_version < 4:  # such files list every initializer among the inputs too
        kind = helper.np_dtype_to_tensor_dtype(value.dtype)
        model.graph.input.append(helper.make_tensor_value_info(name, kind, value.shape))


def _write(tensor: TensorProto, value: NDArray[Any]) -> None:
    fresh = numpy_helper.from_array(np.asarray(value, order="C"), tensor.name)
    fresh.doc_string = tensor.doc_string
    tensor.CopyFrom(fresh)


def _write_constant(node: NodeProto, value: NDArray[Any]) -> None:
    old = next((a for a in node.attribute if a.name == "value"), None)
    if old is not None:
        _write(old.t, value)
        return
    del node.attribute[:]
    node.attribute.append(helper.make_attribute("value", numpy_helper.from_array(value)))
