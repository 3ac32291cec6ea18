"""Expand, Tile and ConstantOfShape: slots that are copies of others, or of nothing."""

from __future__ import annotations

from collections.abc import Iterable

from onnxslim_snacs.ir.types import Fact, Pin, Tie
from onnxslim_snacs.ops.common import broadcast_one, pin_operand
from onnxslim_snacs.ops.node import Edit, Keep, OpNode, SetDims, arange, known
from onnxslim_snacs.ops.registry import Family, OpRule

RUN_TIME = "repeated a number of times that is known only at run time"


def propagate_expand(node: OpNode) -> Iterable[Fact]:
    """Axes of extent 1 are spread, the others are tied from the right."""
    yield from pin_operand(node, 1)
    yield from broadcast_one(node, 0, known(node.out_shape()))


def shrink_expand(node: OpNode, keep: Keep) -> Iterable[Edit]:
    """Entries that spell out an extent that has changed get the new number; 1 means as it is."""
    out, shape = known(node.out_shape()), node.facts.partial(node.inputs[1])
    size = known(node.in_shape(1))[0] or 0
    entries: dict[int, int] = {}
    for dim, extent in enumerate(out):
        entry = dim - (len(out) - size)
        spelled = entry >= 0 and (shape is None or shape[entry] != 1)
        if spelled and extent is not None and keep.index(node.out_axis(dim)) is not None:
            entries[entry] = keep.extent(node.out_axis(dim), extent)
    if entries:
        yield SetDims(1, entries)


def propagate_tile(node: OpNode) -> Iterable[Fact]:
    """Output slot i is input slot i mod n; n = 1 is spread and takes part in nothing."""
    yield from pin_operand(node, 1)
    times = node.facts.partial(node.inputs[1])
    for dim, extent in enumerate(known(node.in_shape(0))):
        source, target = node.in_axis(0, dim), node.out_axis(dim)
        count = times[dim] if times is not None else None
        if count == 1:
            yield Tie(source, target)
        elif extent == 1:
            continue
        elif count is None or extent is None:
            yield Pin(source, RUN_TIME)
            yield Pin(target, RUN_TIME)
        else:
            yield Tie(source, target, arange(0, extent * count) % extent, None)


def shrink_tile(node: OpNode, keep: Keep) -> Iterable[Edit]:
    """A spread axis is repeated as many times as slots are kept."""
    times = node.facts.partial(node.inputs[1])
    entries: dict[int, int] = {}
    for dim, extent in enumerate(known(node.out_shape())):
        spread = known(node.in_shape(0))[dim] == 1 and (times is None or times[dim] != 1)
        if spread and extent is not None and keep.index(node.out_axis(dim)) is not None:
            entries[dim] = keep.extent(node.out_axis(dim), extent)
    if entries:
        yield SetDims(1, entries)


def propagate_constant_of_shape(node: OpNode) -> Iterable[Fact]:
    """All slots are alike and tied to nothing."""
    yield from pin_operand(node, 0)


def shrink_constant_of_shape(node: OpNode, keep: Keep) -> Iterable[Edit]:
    """The shape gets the kept extents."""
    entries = {
        dim: keep.extent(node.out_axis(dim), extent)
        for dim, extent in enumerate(known(node.out_shape()))
        if extent is not None and keep.index(node.out_axis(dim)) is not None
    }
    if entries:
        yield SetDims(0, entries)


RULES: Family = {
    "Expand": OpRule(propagate_expand, shrink_expand),
    "Tile": OpRule(propagate_tile, shrink_tile),
    "ConstantOfShape": OpRule(propagate_constant_of_shape, shrink_constant_of_shape),
}
