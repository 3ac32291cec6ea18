"""Operators for which the place on some axes matters: those axes stay, the others are tied."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from onnxslim_snacs.ir.types import Extent, Fact, Pin, Split, Tie, virtual_axis
from onnxslim_snacs.ops.common import pin_operand
from onnxslim_snacs.ops.node import OpNode, known
from onnxslim_snacs.ops.registry import Family, OpRule, Propagate


def _placed(axes_of: Callable[[OpNode, int], Collection[int]]) -> Propagate:
    """A rule that pins the axes `axes_of(node, rank)` and ties the others."""

    def propagate(node: OpNode) -> Iterable[Fact]:
        rank = len(known(node.in_shape(0)))
        placed = {axis % rank for axis in axes_of(node, rank)}
        for operand in range(1, len(node.inputs)):
            yield from pin_operand(node, operand)
        for dim in range(rank):
            if dim not in placed:
                yield Tie(node.in_axis(0, dim), node.out_axis(dim))
                continue
            for axis in (node.in_axis(0, dim), node.out_axis(dim)):
                yield Pin(axis, f"{node.op} treats the entries of this axis by their place")

    return propagate


def _last_two(node: OpNode, rank: int) -> Collection[int]:
    """Trilu: the axes of the matrix."""
    return (-2, -1)


def _named(node: OpNode, rank: int) -> Collection[int]:
    """CenterCropPad: the attribute `axes`, all by default."""
    return [int(axis) for axis in node.attr("axes", range(rank))]


def _time_and_batch(node: OpNode, rank: int) -> Collection[int]:
    """ReverseSequence: the lengths run along the batch."""
    return (int(node.attr("time_axis", 0)), int(node.attr("batch_axis", 1)))


def propagate_compress(node: OpNode) -> Iterable[Fact]:
    """Compress: the axis on which it selects stays; without an axis all do."""
    yield from pin_operand(node, 1)
    rank, axis = len(known(node.in_shape(0))), node.attr("axis")
    for dim in range(rank):
        if axis is not None and dim != axis % rank:
            yield Tie(node.in_axis(0, dim), node.out_axis(dim))
        else:
            yield Pin(node.in_axis(0, dim), "Compress selects by value")
    yield Pin(node.out_axis(0 if axis is None else axis), "Compress selects by value")


def propagate_one_hot(node: OpNode) -> Iterable[Fact]:
    """OneHot: the new axis has one slot for each value and stays."""
    for operand in (1, 2):
        yield from pin_operand(node, operand)
    rank = len(known(node.out_shape()))
    axis = int(node.attr("axis", -1)) % rank
    yield Pin(node.out_axis(axis), "one entry for each value")
    for dim in range(rank - 1):
        yield Tie(node.in_axis(0, dim), node.out_axis(dim + (dim >= axis)))


def propagate_col2im(node: OpNode) -> Iterable[Fact]:
    """Col2Im: axis 1 is the product of channels and the pixels of a block."""
    for operand in (1, 2):
        yield from pin_operand(node, operand)
    yield Tie(node.in_axis(0, 0), node.out_axis(0))
    yield Pin(node.in_axis(0, 2), "positions of blocks", structural=True)
    for dim in range(2, len(known(node.out_shape()))):
        yield Pin(node.out_axis(dim), "spatial axis", structural=True)
    columns, channels = known(node.in_shape(0))[1], known(node.out_shape())[1]
    block = virtual_axis(node.key, "block")
    if columns and channels:
        yield Extent(block, columns // channels)
        yield Pin(block, "pixels of a block", structural=True)
    yield Split(node.in_axis(0, 1), (node.out_axis(1), block))


RULES: Family = {
    "Trilu": OpRule(_placed(_last_two)),
    "CenterCropPad": OpRule(_placed(_named)),
    "ReverseSequence": OpRule(_placed(_time_and_batch)),
    "Compress": OpRule(propagate_compress),
    "OneHot": OpRule(propagate_one_hot),
    "Col2Im": OpRule(propagate_col2im),
}
