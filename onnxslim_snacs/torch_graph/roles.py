"""Which stored values training may change.

What makes or shifts activations is a weight.  Statistics, bounds, scales of quantised values,
masks and tables of angles have a meaning of their own, and single numbers (an epsilon, an exponent)
are constants of a formula.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from onnx import TensorProto

from onnxslim_snacs.torch_graph.holdings import Stored
from onnxslim_snacs.torch_graph.late import torch
from onnxslim_snacs.torch_graph.program import Program, Step

if TYPE_CHECKING:
    from torch import Tensor

#: Operator -> inputs that are no weights.
_FIXED = {
    "BatchNormalization": (3, 4),
    "Resize": (1, 2),
    "Upsample": (1,),
    "Clip": (1, 2),
    "Pad": (2,),
    "Pow": (1,),
    "OneHot": (2,),
    "Attention": (3,),
    "RotaryEmbedding": (1, 2),
    "RoiAlign": (1,),
    "MaxRoiPool": (1,),
    "QuantizeLinear": (1, 2),
    "DequantizeLinear": (1, 2),
    "QLinearConv": (1, 2, 4, 5, 6, 7),
    "QLinearMatMul": (1, 2, 4, 5, 6, 7),
    "com.microsoft::QGemm": (1, 2, 4, 5, 7, 8),
    "com.microsoft::QLinearAdd": (1, 2, 4, 5, 6, 7),
    "com.microsoft::QLinearMul": (1, 2, 4, 5, 6, 7),
    "com.microsoft::QLinearConcat": (0, 1, *(k for k in range(3, 99) if k % 3 != 2)),
    "com.microsoft::QLinearWhere": (2, 3, 5, 6, 7, 8),
    "com.microsoft::QLinearAveragePool": (1, 2, 3, 4),
    "com.microsoft::QLinearGlobalAveragePool": (1, 2, 3, 4),
    "com.microsoft::QLinearSoftmax": (1, 2, 3, 4),
    "com.microsoft::QLinearSigmoid": (1, 2, 3, 4),
    "com.microsoft::QLinearLeakyRelu": (1, 2, 3, 4),
    "com.microsoft::QuantizeLinear": (1, 2),
    "com.microsoft::DequantizeLinear": (1, 2),
    "com.microsoft::MultiHeadAttention": (5,),
    "com.microsoft::Attention": (5,),
    "com.microsoft::GroupQueryAttention": (7, 8, 10),
    "com.microsoft::RotaryEmbedding": (2, 3),
}
_WHOLE: dict[int, tuple[int, int]] = {TensorProto.INT8: (-128, 127), TensorProto.UINT8: (0, 255)}
#: Numbers above this are masks.
_MASK = 1e4


def trained_keys(
    program: Program,
    stored: Iterable[Stored],
    values: Mapping[str, Tensor],
    whole: Mapping[str, tuple[int, int]],
) -> tuple[str, ...]:
    """Keys of the stored values that training may change.

    Args:
        program: the model.
        stored: what it stores.
        values: by key.
        whole: keys of whole numbers that are trained as well.
    """
    fixed = {name for step in every_step(program) for name in _named(step, _FIXED.get(step.op, ()))}
    return tuple(
        s.key
        for s in stored
        if s.key in whole or (s.name not in fixed and _is_weight(values[s.key]))
    )


def _is_weight(value: Tensor) -> bool:
    if not value.is_floating_point() or value.numel() < 2:
        return False
    return bool(torch.isfinite(value).all()) and float(value.abs().max()) < _MASK


def whole_ranges(program: Program, stored: Iterable[Stored]) -> dict[str, tuple[int, int]]:
    """Keys of bytes that are weights: DequantizeLinear reads them, and nobody else -> range."""
    readers: dict[str, set[tuple[str, int]]] = {}
    for step in every_step(program):
        for index, name in enumerate(step.inputs):
            readers.setdefault(name, set()).add((step.op.split("::")[-1], index))
    return {
        s.key: _WHOLE[s.kind]
        for s in stored
        if s.kind in _WHOLE and readers.get(s.name) == {("DequantizeLinear", 0)}
    }


def every_step(program: Program) -> Iterator[Step]:
    """The steps of a program and of the bodies within it."""
    for step in program.steps:
        yield step
        for body in step.bodies.values():
            yield from every_step(body)


def _named(step: Step, positions: Sequence[int]) -> Iterator[str]:
    return (step.inputs[k] for k in positions if k < len(step.inputs))
