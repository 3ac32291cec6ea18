"""Values of nodes whose inputs are known: a few operators, by onnx's reference implementation.

The reference implementation is made to define operators, not to be safe: ImageDecoder hands what
the file holds to Pillow, which starts Ghostscript on PostScript; RegexFullMatch can be made to run
for years.  So only what weights and shapes are made of is evaluated, and only where onnx's own
shape inference has said beforehand that the result is small enough.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TypeProto, helper, numpy_helper

#: Shape arithmetic and what weights are made of.  No operator here runs a body, reads a format,
#: draws a number or knows text.
EVALUATED = frozenset(
    (
        *("Abs", "Add", "And", "ArgMax", "ArgMin", "BatchNormalization", "Cast", "CastLike"),
        *("Ceil", "Clip", "Concat", "Constant", "ConstantOfShape", "Cos", "CumSum"),
        *("DepthToSpace", "DequantizeLinear", "Div", "Equal", "Erf", "Exp", "Expand", "EyeLike"),
        *("Flatten", "Floor", "Gather", "GatherElements", "GatherND", "Gemm", "Greater"),
        *("GreaterOrEqual", "Identity", "InstanceNormalization", "LayerNormalization", "Less"),
        *("LessOrEqual", "Log", "LpNormalization", "MatMul", "Max", "Mean", "Min", "Mod", "Mul"),
        *("Neg", "NonZero", "Not", "OneHot", "Or", "Pad", "Pow", "QuantizeLinear", "Range"),
        *("Reciprocal", "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax"),
        *("ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare", "Relu"),
        *("Reshape", "Round", "ScatterElements", "ScatterND", "Shape", "Sigmoid", "Sign", "Sin"),
        *("Size", "Slice", "Softmax", "Softplus", "SpaceToDepth", "Split", "Sqrt", "Squeeze"),
        *("Sub", "Sum", "Tanh", "Tile", "TopK", "Transpose", "Trilu", "Unsqueeze", "Where", "Xor"),
    )
)
#: Operators whose result has no more elements than their operands, whatever they are asked.
_NEVER_GROW = frozenset(
    (
        *("Abs", "Cast", "CastLike", "Ceil", "Clip", "Concat", "Cos", "CumSum", "DepthToSpace"),
        *("Erf", "Exp", "Flatten", "Floor", "Identity", "Log", "Neg", "Not", "Reciprocal", "Relu"),
        *("Reshape", "Round", "ScatterElements", "ScatterND", "Sigmoid", "Sign", "Sin", "Slice"),
        *("Softmax", "Softplus", "SpaceToDepth", "Split", "Sqrt", "Squeeze", "Tanh", "Transpose"),
        *("Trilu", "Unsqueeze"),
    )
)
#: ONNX Runtime's own that are what ONNX has since a later version, which knows all their types.
_ADOPTED = frozenset((("com.microsoft", "DequantizeLinear"), ("com.microsoft", "QuantizeLinear")))
_WIDE_TYPES = 21
#: Elements that a result may have in any case, and at the most, if it is made of so many.
SMALL, LARGEST = 1 << 24, 1 << 28
#: How much larger than its operands a large result may be.
_GROWTH = 4
#: Elements up to which shape inference is told the value of an operand: extents, axes, repeats.
_TOLD = 1024


def evaluate(
    node: NodeProto, feeds: Mapping[str, NDArray[Any]], opsets: Mapping[str, int]
) -> dict[str, NDArray[Any]]:
    """Outputs of a node.

    Args:
        node: the node.
        feeds: value of each of its inputs.
        opsets: version of the operator set by domain.

    Returns:
        Output -> value; nothing for an operator that is not evaluated, for a result whose size is
        not known beforehand or too large, and where the reference implementation fails.
    """
    imports = [helper.make_opsetid(domain, version) for domain, version in opsets.items()]
    if (node.domain, node.op_type) in _ADOPTED:
        node = _as_standard(node)
        imports = [helper.make_opsetid("", _WIDE_TYPES)]
    if node.domain not in ("", "ai.onnx") or node.op_type not in EVALUATED:
        return {}
    elements = _elements(node, feeds, imports)
    operands = sum(value.size for value in feeds.values())
    if elements is None or elements > max(SMALL, min(LARGEST, _GROWTH * operands)):
        return {}
    from onnx.reference import ReferenceEvaluator

    made = [name for name in node.output if name]
    inputs = [helper.make_value_info(name, TypeProto()) for name in feeds]
    outputs = [helper.make_value_info(name, TypeProto()) for name in made]
    graph = helper.make_graph([node], "constant", inputs, outputs)
    try:
        runner = ReferenceEvaluator(helper.make_model(graph, opset_imports=imports))
        with np.errstate(all="ignore"):  # what a model computes is no news to whoever cuts it
            results: Any = runner.run(None, dict(feeds))
    except Exception:  # whatever the reference cannot do is simply not known
        return {}
    return {name: np.asarray(value) for name, value in zip(made, results, strict=True)}


def _as_standard(node: NodeProto) -> NodeProto:
    """The node as one of ONNX's own."""
    plain = NodeProto()
    plain.CopyFrom(node)
    plain.domain = ""
    return plain


def _elements(
    node: NodeProto, feeds: Mapping[str, NDArray[Any]], imports: Sequence[onnx.OperatorSetIdProto]
) -> int | None:
    """Number of elements of all outputs together, None where it cannot be told beforehand."""
    if node.op_type in _NEVER_GROW:
        return sum(value.size for value in feeds.values())
    if node.op_type == "NonZero":  # at the most every element, with a number for each axis
        return sum(value.size * max(1, value.ndim) for value in feeds.values())
    try:
        told = {n: numpy_helper.from_array(v, n) for n, v in feeds.items() if v.size <= _TOLD}
        infos = [
            helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape)
            for n, v in feeds.items()
            if n not in told
        ]
        outputs = [helper.make_value_info(name, TypeProto()) for name in node.output if name]
        graph = helper.make_graph([node], "size", infos, outputs, list(told.values()))
        model = helper.make_model(graph, opset_imports=imports)
        inferred = onnx.shape_inference.infer_shapes(model).graph.output
    except Exception:  # a value that onnx has no type for, an operator set that it does not know
        return None
    total = 0
    for info in inferred:
        if not info.type.tensor_type.HasField("shape"):
            return None
        dims = info.type.tensor_type.shape.dim
        if not all(d.HasField("dim_value") for d in dims):
            return None
        total += math.prod(int(d.dim_value) for d in dims)
    return total
