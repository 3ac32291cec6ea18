"""Operators that treat every element alike: unary, and n-ary with numpy broadcasting."""

from __future__ import annotations

from collections.abc import Iterable

from onnxslim_snacs.ir.types import Fact
from onnxslim_snacs.ops.common import broadcast, same_axes
from onnxslim_snacs.ops.node import OpNode, known
from onnxslim_snacs.ops.registry import Family, OpRule

#: One data input (the first); what else they take are scalars.
UNARY = (  # noqa: SIM905
    "Abs Acos Acosh Asin Asinh Atan Atanh BitwiseNot Cast CastLike Ceil Celu Clip Cos Cosh "
    "Elu Erf Exp Floor Gelu HardSigmoid HardSwish Identity IsInf IsNaN LeakyRelu Log Mish Neg Not "
    "Reciprocal Relu Round Selu Shrink Sigmoid Sign Sin Sinh Softplus Softsign Sqrt Swish Tan Tanh "
    "ThresholdedRelu com.microsoft::QuickGelu com.microsoft::Gelu"
).split()

#: All inputs are data and are broadcast against each other.
NARY = (  # noqa: SIM905
    "Add And BitShift BitwiseAnd BitwiseOr BitwiseXor Div Equal Greater GreaterOrEqual Less "
    "LessOrEqual Max Mean Min Mod Mul Or Pow PRelu Sub Sum Where Xor com.microsoft::FastGelu"
).split()


def propagate_unary(node: OpNode) -> Iterable[Fact]:
    """Every axis of the input is the same axis of each output."""
    rank = len(known(node.in_shape(0)))
    for output, name in enumerate(node.outputs):
        if name:
            yield from same_axes(node, 0, range(rank), output)


def propagate_nary(node: OpNode) -> Iterable[Fact]:
    """Axes are tied from the right; an axis of extent 1 is spread and takes part in nothing."""
    yield from broadcast(node, range(len(node.inputs)))


RULES: Family = {
    **{op: OpRule(propagate_unary) for op in UNARY},
    **{op: OpRule(propagate_nary) for op in NARY},
}
