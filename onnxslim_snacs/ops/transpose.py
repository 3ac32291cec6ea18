"""Operators that reorder axes, or put in and take out axes of extent 1."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from onnxslim_snacs.ir.types import Axis, Fact, Tie
from onnxslim_snacs.ops.common import pin_operand, pin_structural, pin_tensors
from onnxslim_snacs.ops.node import Edit, Keep, OpNode, SetAttribute, SetInput, known
from onnxslim_snacs.ops.registry import Family, OpRule


def propagate_transpose(node: OpNode) -> Iterable[Fact]:
    """Output axis d is input axis perm[d]."""
    rank = len(known(node.in_shape(0)))
    perm = node.attr("perm", list(reversed(range(rank))))
    for dim, source in enumerate(perm):
        yield Tie(node.in_axis(0, int(source)), node.out_axis(dim))


def propagate_squeeze(node: OpNode) -> Iterable[Fact]:
    """The named axes (all of extent 1 if none are named) are left out."""
    yield from _tie_others(node, long=node.inputs[0], short=node.outputs[0])


def propagate_unsqueeze(node: OpNode) -> Iterable[Fact]:
    """Axes of extent 1 are put in at the named positions of the output."""
    yield from _tie_others(node, long=node.outputs[0], short=node.inputs[0])


def _tie_others(node: OpNode, long: str, short: str) -> Iterable[Fact]:
    """Ties of a tensor with another that lacks some axes of extent 1."""
    yield from pin_operand(node, 1)
    rank, rest = len(known(node.facts.shape(long))), len(known(node.facts.shape(short)))
    lacking = named_axes(node, rank)
    if lacking is None and not node.has_input(1):
        shape = known(node.facts.shape(long))
        lacking = frozenset(dim for dim, extent in enumerate(shape) if extent == 1)
    if lacking is None or rank - len(lacking) != rest:
        yield from pin_tensors(node, (long, short), "the axes of extent 1 are not known")
        return
    stay = [dim for dim in range(rank) if dim not in lacking]
    yield from pin_structural((Axis(long, dim) for dim in sorted(lacking)), "axis of extent 1")
    for position, dim in enumerate(stay):
        yield Tie(Axis(long, dim), Axis(short, position))


def shrink_squeeze(node: OpNode, keep: Keep) -> Iterable[Edit]:
    """Without named axes a channel axis of which one slot is left would be squeezed as well."""
    shape = known(node.in_shape(0))
    if node.has_input(1) or node.attr("axes") is not None:
        return
    left = [keep.extent(node.in_axis(0, dim), extent or 0) for dim, extent in enumerate(shape)]
    axes = [dim for dim, extent in enumerate(shape) if extent == 1]
    if left.count(1) == len(axes):
        return
    if node.opset < 13:
        yield SetAttribute("axes", axes)
    else:
        yield SetInput(1, np.array(axes, dtype=np.int64))


def named_axes(node: OpNode, rank: int) -> frozenset[int] | None:
    """The `axes` (attribute before opset 13, input 1 since), counted from 0; None if not given."""
    given = node.in_value(1) if node.has_input(1) else node.attr("axes")
    return None if given is None else frozenset(int(axis) % rank for axis in np.ravel(given))


RULES: Family = {
    "Transpose": OpRule(propagate_transpose),
    "Squeeze": OpRule(propagate_squeeze, shrink_squeeze),
    "Unsqueeze": OpRule(propagate_unsqueeze),
}
