"""Sequences that stay sequences: their axes are those of every tensor that they hold.

Whatever goes in or comes out, by a constant position or by one that a loop counts, a channel of
one tensor is a channel of them all.  Where the tensors differ in an extent nothing goes along it,
nor along the axis on which they are stacked.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from onnxslim_snacs.ir.types import Axis, Fact, Pin, Tie
from onnxslim_snacs.ops.common import pin_operand, pin_structural, pin_tensors
from onnxslim_snacs.ops.node import Edit, Keep, OpNode, SetInput, arange, known
from onnxslim_snacs.ops.registry import Family, OpRule

DIFFER = "the tensors of a sequence differ in it, or their number changes"
STACKED = "the tensors of a sequence lie along it"


def propagate_together(node: OpNode) -> Iterable[Fact]:
    """Axis d of every sequence and tensor around the node is axis d of all others."""
    around = [name for name in (*node.inputs, *node.outputs) if name]
    held = [n for n in around if not node.facts.holds_nothing(n) and not _is_place(node, n)]
    shapes = [known(node.facts.shape(name)) for name in held]
    if len({len(shape) for shape in shapes}) > 1:
        yield from pin_tensors(node, held, DIFFER)
        return
    for dim, extents in enumerate(zip(*shapes, strict=True)):
        axes = [Axis(name, dim) for name in held]
        if len(set(extents)) == 1:
            yield from (Tie(axes[0], axis) for axis in axes[1:])
        else:
            yield from (Pin(axis, DIFFER) for axis in axes)


def _is_place(node: OpNode, name: str) -> bool:
    """Whether it says where in the sequence, which is the last input."""
    last = {"SequenceAt": 1, "SequenceErase": 1, "SequenceInsert": 2}.get(node.op)
    return last is not None and node.has_input(last) and node.inputs[last] == name


def propagate_join(node: OpNode) -> Iterable[Fact]:
    """ConcatFromSequence: the tensors side by side, along an axis of theirs or a new one."""
    out = len(known(node.out_shape()))
    axis = int(node.attr("axis", 0)) % out
    if node.attr("new_axis", 0):
        yield from pin_structural([node.out_axis(axis)], STACKED)
        others = [dim for dim in range(out) if dim != axis]
        yield from (Tie(node.in_axis(0, k), node.out_axis(d)) for k, d in enumerate(others))
        return
    yield from _parts(node, node.outputs[0], node.inputs[0], axis)


def propagate_take_apart(node: OpNode) -> Iterable[Fact]:
    """SplitToSequence: the tensors side by side are the input."""
    yield from pin_operand(node, 1)
    rank = len(known(node.in_shape(0)))
    axis = int(node.attr("axis", 0)) % rank
    if not node.has_input(1):
        yield from pin_structural([node.in_axis(0, axis)], STACKED)
        if node.attr("keepdims", 1):
            yield from pin_structural([node.out_axis(axis)], STACKED)
        flat = not node.attr("keepdims", 1)
        for dim in (d for d in range(rank) if d != axis):
            yield Tie(node.in_axis(0, dim), node.out_axis(dim - (flat and dim > axis)))
        return
    if node.in_value(1) is None:
        yield Pin(node.in_axis(0, axis), "split into sizes that are computed while the model runs")
    yield from _parts(node, node.inputs[0], node.outputs[0], axis)


def _parts(node: OpNode, whole: str, sequence: str, axis: int) -> Iterator[Fact]:
    """Ties between a tensor and those of the sequence into which it falls along an axis."""
    one, all_of_them = known(node.facts.shape(sequence)), known(node.facts.shape(whole))
    for dim in (d for d in range(len(one)) if d != axis):
        yield Tie(Axis(sequence, dim), Axis(whole, dim))
    part, extent = one[axis], all_of_them[axis]
    if not part or not extent or extent % part:
        yield from (Pin(Axis(name, axis), DIFFER) for name in (whole, sequence))
        return
    index = arange(0, extent)
    yield Tie(Axis(sequence, axis), Axis(whole, axis), index % part, index)


def shrink_take_apart(node: OpNode, keep: Keep) -> Iterable[Edit]:
    """The size of the parts, one number or one for each."""
    sizes = node.in_value(1)
    axis = int(node.attr("axis", 0)) % len(known(node.in_shape(0)))
    if sizes is None:
        return
    kept = keep.index(node.out_axis(axis))
    if kept is not None:
        yield SetInput(1, np.full(sizes.shape, len(kept), dtype=sizes.dtype))


def propagate_nothing(node: OpNode) -> Iterable[Fact]:
    """SequenceEmpty and SequenceLength: of the tensors they have and say nothing."""
    return ()


RULES: Family = {
    **dict.fromkeys(
        ("SequenceConstruct", "SequenceInsert", "SequenceErase", "SequenceAt"),
        OpRule(propagate_together),
    ),
    **dict.fromkeys(("SequenceEmpty", "SequenceLength"), OpRule(propagate_nothing)),
    "ConcatFromSequence": OpRule(propagate_join),
    "SplitToSequence": OpRule(propagate_take_apart, shrink_take_apart),
}
