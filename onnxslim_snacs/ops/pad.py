"""Pad: more slots around an axis, or fewer, at exact offsets."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from onnxslim_snacs.ir.types import Fact, Pin, Tie
from onnxslim_snacs.ops.common import pin_operand
from onnxslim_snacs.ops.node import Edit, Keep, OpNode, SetAttribute, SetDims, arange, known
from onnxslim_snacs.ops.registry import Family, OpRule

#: For one axis: position of its entry among the operand's, slots added before and after
#: (negative: removed), None where that is known only at run time.
_Amount = tuple[int, int | None, int | None]

RUN_TIME = "padded by an amount that is known only at run time"


def propagate(node: OpNode) -> Iterable[Fact]:
    """Data slots are tied at their offset; slots of padding are tied to nothing."""
    for operand in range(1, len(node.inputs)):
        yield from pin_operand(node, operand)
    amounts, constant = _amounts(node), node.attr("mode", "constant") == "constant"
    for dim, extent in enumerate(known(node.in_shape(0))):
        source, target = node.in_axis(0, dim), node.out_axis(dim)
        if amounts is not None and (dim not in amounts or amounts[dim][1:] == (0, 0)):
            yield Tie(source, target)
            continue
        before, after = amounts[dim][1:] if amounts is not None else (None, None)
        if before is None or after is None or extent is None or not constant:
            mode = (
                "by an amount known only at run time"
                if constant
                else "with copies of other entries"
            )
            yield Pin(source, f"padded {mode}")
            yield Pin(target, f"padded {mode}")
            continue
        stays = arange(max(0, -before), extent + min(0, after))
        yield Tie(source, target, stays, stays + before)


def _amounts(node: OpNode) -> dict[int, _Amount] | None:
    """The amounts of the padded axes (attribute before opset 11, inputs since)."""
    rank = len(known(node.in_shape(0)))
    if node.has_input(1):
        found = node.facts.partial(node.inputs[1])
        pads: list[int | None] | None = None if found is None else list(found)
    else:
        pads = node.attr("pads")
    axes = list(range(rank))
    if node.has_input(3):
        given = node.in_value(3)
        if given is None:
            return None
        axes = [int(axis) % rank for axis in given]
    if pads is None:
        return None
    return {a: (k, pads[k], pads[k + len(axes)]) for k, a in enumerate(axes)}


def shrink(node: OpNode, keep: Keep) -> Iterable[Edit]:
    """Count the kept slots of padding."""
    amounts = _amounts(node) or {}
    entries: dict[int, int] = {}
    for dim, (entry, before, after) in amounts.items():
        extent = known(node.in_shape(0))[dim]
        if before is None or after is None or extent is None or before == after == 0:
            continue
        inside, outside = keep.index(node.in_axis(0, dim)), keep.index(node.out_axis(dim))
        if inside is None and outside is None:
            continue
        inside = arange(0, extent) if inside is None else inside
        outside = arange(0, extent + before + after) if outside is None else outside
        entries[entry] = (
            int(np.sum(outside < before)) if before > 0 else -int(np.sum(inside < -before))
        )
        entries[entry + len(amounts)] = (
            int(np.sum(outside >= before + extent))
            if after > 0
            else -int(np.sum(inside >= extent + after))
        )
    if not entries:
        return
    if node.has_input(1):
        yield SetDims(1, entries)
    else:
        yield SetAttribute("pads", [entries.get(k, v) for k, v in enumerate(node.attr("pads"))])


RULES: Family = {"Pad": OpRule(propagate, shrink)}
