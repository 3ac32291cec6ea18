"""The same model in a wider type, to compare what it computes and not how coarsely it rounds.

A unit in the last place of half precision is a thousandth: a wrong weight hides in it.  What the
plan says is about which numbers are multiplied and summed, so that both sides of a proof are run in
single precision; and what single precision makes of a model is seen beside double precision.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, TypeProto, helper, numpy_helper

from onnxslim_snacs.model.graph import subgraphs
from onnxslim_snacs.model.mapped import tensor_array
from onnxslim_snacs.model.stored import every_node, stored_tensors
from onnxslim_snacs.model.values import each

#: Element type -> the wider one.
Types = Mapping[int, int]

SINGLE: Types = {
    TensorProto.FLOAT16: TensorProto.FLOAT,
    TensorProto.BFLOAT16: TensorProto.FLOAT,
}
DOUBLE: Types = {**dict.fromkeys((*SINGLE, TensorProto.FLOAT), TensorProto.DOUBLE)}

#: Attributes that name an element type.
_NAMING = ("to", "dtype", "output_dtype")


def holds(model: ModelProto, types: Types) -> bool:
    """Whether a model stores, takes, gives or casts to any of the narrower types."""
    infos = (*model.graph.input, *model.graph.output)
    return (
        any(tensor.data_type in types for _, tensor in stored_tensors(model))
        or any(info.type.tensor_type.elem_type in types for info in infos)
        or any(a.i in types for node in every_node(model) for a in _naming(node))
    )


def widened(model: ModelProto, types: Types, base_dir: Path | None = None) -> ModelProto:
    """A copy of a model in which every number of a narrower type has the wider one.

    Args:
        model: the model.
        types: what becomes of which element type.
        base_dir: the folder of its external data.
    """
    wide = ModelProto()
    wide.CopyFrom(model)
    for _, tensor in stored_tensors(wide):
        if tensor.data_type in types:
            array = tensor_array(tensor, base_dir)
            kind = helper.tensor_dtype_to_np_dtype(types[tensor.data_type])
            tensor.CopyFrom(numpy_helper.from_array(array.astype(kind), tensor.name))
    for node in every_node(wide):
        for attribute in _naming(node):
            attribute.i = types.get(attribute.i, attribute.i)
        if node.op_type == "ConstantOfShape" and not node.attribute:
            _say_zero(node, types)
        for body in subgraphs(node):
            _declare(body, types)
    _declare(wide.graph, types)
    return wide


def widened_feeds(feeds: Mapping[str, NDArray[Any]], types: Types) -> dict[str, NDArray[Any]]:
    """The inputs for a widened model, each in its own shape, floats in the wide type."""
    kinds = {
        helper.tensor_dtype_to_np_dtype(narrow): helper.tensor_dtype_to_np_dtype(wide)
        for narrow, wide in types.items()
    }

    def wide(one: NDArray[Any]) -> NDArray[Any]:
        return one.astype(kinds.get(one.dtype, one.dtype), copy=False)

    return {name: each(wide, value) for name, value in feeds.items()}


def _naming(node: NodeProto) -> Iterator[Any]:
    """The attributes of a node that name an element type."""
    return (a for a in node.attribute if a.name in _NAMING and a.i)


def _say_zero(node: NodeProto, types: Types) -> None:
    """What ConstantOfShape gives if it does not say: a zero in single precision."""
    kind = helper.tensor_dtype_to_np_dtype(types.get(TensorProto.FLOAT, TensorProto.FLOAT))
    zero = numpy_helper.from_array(np.zeros(1, dtype=kind))
    node.attribute.append(helper.make_attribute("value", zero))


def _declare(graph: GraphProto, types: Types) -> None:
    del graph.value_info[:]
    for info in (*graph.input, *graph.output):
        _declare_type(info.type, types)


def _declare_type(declared: TypeProto, types: Types) -> None:
    which = declared.WhichOneof("value")
    if which == "tensor_type":
        kind = declared.tensor_type.elem_type
        declared.tensor_type.elem_type = types.get(kind, kind)
    elif which in ("sequence_type", "optional_type"):
        _declare_type(getattr(declared, which).elem_type, types)
