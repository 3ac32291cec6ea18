"""Nodes that write zeros into some slots of a tensor, in whatever type it has."""

from __future__ import annotations

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

#: Types for which ONNX Runtime has Where; the others go through one of these.
_SELECTABLE = frozenset(
    (
        TensorProto.FLOAT,
        TensorProto.DOUBLE,
        TensorProto.FLOAT16,
        TensorProto.INT8,
        TensorProto.UINT8,
        TensorProto.INT32,
        TensorProto.UINT32,
        TensorProto.INT64,
    )
)
#: Types for which it has Mul, which has to do in models from before Where.
_MULTIPLIED = frozenset(
    (
        TensorProto.FLOAT,
        TensorProto.DOUBLE,
        TensorProto.FLOAT16,
        TensorProto.INT32,
        TensorProto.INT64,
    )
)
_WIDER: dict[int, int] = {
    TensorProto.INT16: TensorProto.INT32,
    TensorProto.UINT16: TensorProto.INT32,
    TensorProto.BOOL: TensorProto.INT32,
    TensorProto.INT8: TensorProto.INT32,
    TensorProto.UINT8: TensorProto.INT32,
    TensorProto.UINT32: TensorProto.INT64,
    TensorProto.UINT64: TensorProto.INT64,
}
#: Operator set with which Where came.
_WHERE = 9


def blank(
    source: str, target: str, mask: str, kind: int, opset: int, zero: str = ""
) -> list[NodeProto]:
    """Nodes that copy a tensor where a mask is set and write zeros elsewhere.

    Not by a product, where the operator set has anything else: what is infinite or no number at a
    removed slot must not survive.

    Args:
        source: the tensor.
        target: the copy; names that begin with it and a NUL belong to these nodes.
        mask: booleans that broadcast to it.
        kind: its element type.
        opset: the model's operator set.
        zero: a tensor of the same type with the one number that stands for zero; "" for 0.  What
            has zero points is younger than Where.
    """
    able = _SELECTABLE if opset >= _WHERE else _MULTIPLIED
    if kind not in able:
        wide, back = f"{target}\0wide", f"{target}\0back"
        wider = _WIDER.get(kind, TensorProto.FLOAT)
        point = f"{target}\0point" if zero else ""
        return [
            helper.make_node("Cast", [source], [wide], to=wider),
            *([helper.make_node("Cast", [zero], [point], to=wider)] if zero else []),
            *blank(wide, back, mask, wider, opset, point),
            helper.make_node("Cast", [back], [target], to=kind),
        ]
    if opset < _WHERE:
        return [
            helper.make_node("Cast", [mask], [f"{target}\0mask"], to=kind),
            helper.make_node("Mul", [source, f"{target}\0mask"], [target]),
        ]
    if zero:
        return [helper.make_node("Where", [mask, source, zero], [target])]
    plain = numpy_helper.from_array(np.zeros((), dtype=helper.tensor_dtype_to_np_dtype(kind)))
    return [
        helper.make_node("Constant", [], [f"{target}\0zero"], value=plain),
        helper.make_node("Where", [mask, source, f"{target}\0zero"], [target]),
    ]
