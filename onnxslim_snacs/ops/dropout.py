"""Dropout: nothing at all where a model infers, drawn at random where it was left in training mode.

What is drawn depends on how many numbers are drawn before, so that the answers of a model that has
lost channels are no longer those of the seed: around a Dropout in training mode all channels stay.
"""

from __future__ import annotations

from collections.abc import Iterable

from onnxslim_snacs.ir.types import Fact
from onnxslim_snacs.ops.common import pin_tensors
from onnxslim_snacs.ops.elementwise import propagate_unary
from onnxslim_snacs.ops.node import OpNode
from onnxslim_snacs.ops.registry import Family, OpRule

DRAWS = "the model is random: this Dropout is in training mode"
#: Since these versions the mode is an input; before the first of them it was an attribute.
_INFERS, _MODE_IS_INPUT = 7, 12
_RATIO, _MODE = 1, 2


def propagate_dropout(node: OpNode) -> Iterable[Fact]:
    """Every axis of the input is the same axis of both outputs."""
    if not in_training(node):
        yield from propagate_unary(node)
        return
    for operands in (node.inputs[:1], node.outputs):
        yield from pin_tensors(node, operands, DRAWS)


def in_training(node: OpNode) -> bool:
    """Whether a node is a Dropout that drops, or may do so."""
    if node.op != "Dropout":
        return False
    if node.opset < _INFERS:
        return not node.attr("is_test", 0) and node.attr("ratio", 0.5) != 0
    if node.opset < _MODE_IS_INPUT or not node.has_input(_MODE):
        return False
    mode, ratio = node.in_value(_MODE), node.in_value(_RATIO)
    never = ratio is not None and not ratio.any()
    return (mode is None or bool(mode.any())) and not never


RULES: Family = {"Dropout": OpRule(propagate_dropout)}
