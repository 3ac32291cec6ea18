"""The same models in double precision, to tell an error from noise.

A float32 model whose normalisations divide by what is nearly zero amplifies the rounding of its
sums until two right answers lie further apart than a fixed tolerance allows.  In double precision
the same noise is nine orders of magnitude smaller, and a wrong channel differs as much as before.
ONNX Runtime has no convolution for doubles; ONNX's own reference implementation has.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from onnx import AttributeProto, GraphProto, ModelProto, TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

Float = NDArray[np.float32]
Double = NDArray[np.float64]


def run_in_double(model: ModelProto, feeds: dict[str, Float]) -> list[Double]:
    """What a float32 model answers when it is computed in double precision.

    Args:
        model: the model.
        feeds: its inputs.

    Raises:
        AssertionError: an operator of the reference implementation fell back to float32, so that
            the answer is no better than the one in doubt.
    """
    evaluator = ReferenceEvaluator(in_double(model))
    wide = {name: value.astype(np.float64) for name, value in feeds.items()}
    results = evaluator.run(None, wide, intermediate=True)
    assert isinstance(results, dict)
    narrow = [n for n, v in results.items() if getattr(v, "dtype", None) == np.float32]
    assert not narrow, f"still float32: {', '.join(narrow)}"
    return [np.asarray(results[info.name]) for info in model.graph.output]


def in_double(model: ModelProto) -> ModelProto:
    """A copy in which every float32 number, stored or declared, is a double."""
    wide = ModelProto()
    wide.CopyFrom(model)
    _widen_graph(wide.graph)
    return wide


def _widen_graph(graph: GraphProto) -> None:
    for tensor in graph.initializer:
        _widen(tensor)
    for info in (*graph.input, *graph.output, *graph.value_info):
        kind = info.type.tensor_type
        if kind.elem_type == TensorProto.FLOAT:
            kind.elem_type = TensorProto.DOUBLE
    for node in graph.node:
        if node.op_type == "ConstantOfShape" and not node.attribute:
            zero = numpy_helper.from_array(np.zeros(1, dtype=np.float32))
            node.attribute.append(helper.make_attribute("value", zero))
        for attribute in node.attribute:
            _widen_attribute(node.op_type, attribute)


def _widen_attribute(op: str, attribute: AttributeProto) -> None:
    if attribute.name == "to" and op == "Cast" and attribute.i == TensorProto.FLOAT:
        attribute.i = TensorProto.DOUBLE
    elif op == "Constant" and attribute.name in ("value_float", "value_floats"):
        value = np.asarray(helper.get_attribute_value(attribute), dtype=np.float64)
        attribute.CopyFrom(helper.make_attribute("value", numpy_helper.from_array(value)))
    elif attribute.type == AttributeProto.TENSOR:
        _widen(attribute.t)
    for body in (attribute.g, *attribute.graphs):
        _widen_graph(body)


def _widen(tensor: TensorProto) -> None:
    if tensor.data_type == TensorProto.FLOAT:
        value = numpy_helper.to_array(tensor).astype(np.float64)
        tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))
