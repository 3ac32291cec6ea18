"""Operators that treat every element alike, with numpy broadcasting between several inputs."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from onnxslim_snacs.torch_graph.call import Call, together
from onnxslim_snacs.torch_graph.families import Family, Operator
from onnxslim_snacs.torch_graph.late import torch

if TYPE_CHECKING:
    from torch import Tensor

#: ONNX's name -> torch's, of functions of one tensor.
UNARY = {
    "Abs": "abs",
    "Acos": "acos",
    "Acosh": "acosh",
    "Asin": "asin",
    "Asinh": "asinh",
    "Atan": "atan",
    "Atanh": "atanh",
    "BitwiseNot": "bitwise_not",
    "Ceil": "ceil",
    "Cos": "cos",
    "Cosh": "cosh",
    "Erf": "erf",
    "Exp": "exp",
    "Floor": "floor",
    "IsNaN": "isnan",
    "Log": "log",
    "Neg": "neg",
    "Not": "logical_not",
    "Reciprocal": "reciprocal",
    "Round": "round",
    "Sign": "sign",
    "Sin": "sin",
    "Sinh": "sinh",
    "Sqrt": "sqrt",
    "Tan": "tan",
}
#: ONNX's name -> torch's, of functions of two tensors.
BINARY = {
    "And": "logical_and",
    "BitwiseAnd": "bitwise_and",
    "BitwiseOr": "bitwise_or",
    "BitwiseXor": "bitwise_xor",
    "Equal": "eq",
    "Greater": "gt",
    "GreaterOrEqual": "ge",
    "Less": "lt",
    "LessOrEqual": "le",
    "Mul": "mul",
    "Or": "logical_or",
    "Sub": "sub",
    "Add": "add",
    "Xor": "logical_xor",
}
#: ONNX's name -> torch's, of functions that fold any number of tensors.
FOLDED = {"Max": "maximum", "Min": "minimum", "Sum": "add"}


def _unary(name: str) -> Operator:
    return lambda call: getattr(torch, name)(call[0])


def _binary(name: str) -> Operator:
    return lambda call: getattr(torch, name)(*operands(call))


def _folded(name: str) -> Operator:
    return lambda call: functools.reduce(getattr(torch, name), together(*call.inputs))


def operands(call: Call) -> list[Tensor]:
    """Two operands on one device, the second placed as attributes before opset 7 say."""
    a, b = together(call[0], call[1])
    if call.opset < 7 and call.attr("broadcast", 0):
        axis = call.attr("axis", a.ndim - b.ndim)
        b = b.reshape([*b.shape, *[1] * (a.ndim - axis - b.ndim)])
    return [a, b]


def identity(call: Call) -> Any:
    """Identity, of sequences as well."""
    return call.inputs[0]


def divide(call: Call) -> Tensor:
    """Div; whole numbers are cut off towards zero."""
    a, b = operands(call)
    return a / b if a.is_floating_point() else torch.div(a, b, rounding_mode="trunc")


def power(call: Call) -> Tensor:
    """Pow, in the type of the base."""
    a, b = operands(call)
    return torch.pow(a, b).to(a.dtype)


def modulo(call: Call) -> Tensor:
    """Mod, with the sign of the divisor, or with fmod of the dividend."""
    a, b = operands(call)
    return torch.fmod(a, b) if call.attr("fmod", 0) else torch.remainder(a, b)


def mean(call: Call) -> Tensor:
    """Mean of any number of tensors."""
    values = together(*call.inputs)
    total: Tensor = functools.reduce(operator.add, values)
    return total / len(values)


def shift(call: Call) -> Tensor:
    """BitShift to the left or to the right."""
    a, b = operands(call)
    left = call.attr("direction") == "LEFT"
    return torch.bitwise_left_shift(a, b) if left else torch.bitwise_right_shift(a, b)


def where(call: Call) -> Tensor:
    """Where."""
    condition, a, b = together(*call.inputs)
    return torch.where(condition, a, b)


def is_infinite(call: Call) -> Tensor:
    """IsInf, of the signs that are asked for."""
    x = call[0]
    found = torch.isposinf(x) if call.attr("detect_positive", 1) else torch.zeros_like(x).bool()
    return found | torch.isneginf(x) if call.attr("detect_negative", 1) else found


def cast(call: Call) -> Tensor:
    """Cast; half precision is kept in single."""
    return call[0].to(call.dtype(call.attr("to")))


def cast_like(call: Call) -> Tensor:
    """CastLike."""
    return call[0].to(call[1].dtype)


def clip(call: Call) -> Tensor:
    """Clip; bounds are attributes before opset 11."""
    low, high = call.scalar(1, "min"), call.scalar(2, "max")
    if low is None and high is None:
        return call[0]
    return torch.clamp(call[0], low, high)


def dropout(call: Call) -> Any:
    """Dropout, as at inference: everything stays."""
    x = call[0]
    return (x, torch.ones_like(x, dtype=torch.bool)) if call.wants(1) else x


_OWN: dict[str, Callable[[Call], Any]] = {
    "Identity": identity,
    "Div": divide,
    "Pow": power,
    "Mod": modulo,
    "Mean": mean,
    "BitShift": shift,
    "Where": where,
    "IsInf": is_infinite,
    "Cast": cast,
    "CastLike": cast_like,
    "Clip": clip,
    "Dropout": dropout,
}

OPERATORS: Family = {
    **{op: _unary(name) for op, name in UNARY.items()},
    **{op: _binary(name) for op, name in BINARY.items()},
    **{op: _folded(name) for op, name in FOLDED.items()},
    **_OWN,
}
