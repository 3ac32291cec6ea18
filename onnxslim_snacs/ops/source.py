"""Operators whose output is no channel data of their input: constants, extents, indices."""

from __future__ import annotations

from collections.abc import Iterable

from onnxslim_snacs.ir.types import Fact
from onnxslim_snacs.ops.common import pin_tensors
from onnxslim_snacs.ops.node import OpNode, known
from onnxslim_snacs.ops.registry import Family, OpRule

NUMBERS = "numbers, not channels"


def propagate_constant(node: OpNode) -> Iterable[Fact]:
    """Constant: cut along its own axes like an initializer."""
    return ()


def propagate_extents(node: OpNode) -> Iterable[Fact]:
    """Shape and Size read extents and no values, so that the input is free.

    The length of a vector of extents is the exception: it counts axes, not channels.
    """
    yield from pin_tensors(node, node.outputs, NUMBERS)
    shape, value = known(node.in_shape(0)), node.in_value(0)
    if len(shape) == 1 and value is not None and value.dtype.kind == "i":
        yield from pin_tensors(node, node.inputs, NUMBERS)


def propagate_generated(node: OpNode) -> Iterable[Fact]:
    """Range, EyeLike, RandomNormal ...: what a slot holds depends on where it stands."""
    for operands in (node.inputs, node.outputs):
        yield from pin_tensors(node, operands, f"{node.op} makes values that depend on their place")


def propagate_selection(node: OpNode) -> Iterable[Fact]:
    """NonZero, NonMaxSuppression, Unique ...: which slots come out depends on all of them."""
    for operands in (node.inputs, node.outputs):
        yield from pin_tensors(node, operands, f"{node.op} selects by value")


RULES: Family = {
    "Constant": OpRule(propagate_constant),
    "Shape": OpRule(propagate_extents),
    "Size": OpRule(propagate_extents),
    **{
        op: OpRule(propagate_generated)
        for op in (
            "Range",
            "EyeLike",
            "RandomNormal",
            "RandomNormalLike",
            "RandomUniform",
            "RandomUniformLike",
            "Bernoulli",
            "Multinomial",
        )
    },
    **{op: OpRule(propagate_selection) for op in ("NonZero", "NonMaxSuppression", "Unique")},
}
