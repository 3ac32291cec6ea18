"""Slice: parts of axes, by exact index maps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from onnx import helper

from onnxslim_snacs.ir.types import Fact, IntArray, Pin, Tie
from onnxslim_snacs.ops.common import pin_operand, pin_tensors
from onnxslim_snacs.ops.node import (
    Edit,
    Keep,
    OpNode,
    ReplaceNode,
    SetAttribute,
    SetDims,
    arange,
    known,
)
from onnxslim_snacs.ops.registry import Family, OpRule

#: Beyond the end of any axis.
_END = 2**31 - 1


RUN_TIME = "sliced at bounds that are known only at run time"


@dataclass(frozen=True, slots=True)
class Bounds:
    """What Slice does to one axis; None where it is known only at run time.

    Attributes:
        entry: position within the operands.
        start: first index.
        end: index before which to stop.
        step: stride, may be negative.
    """

    entry: int
    start: int | None
    end: int | None
    step: int | None

    def index(self, extent: int) -> IntArray | None:
        """The picked indices of an axis with `extent` slots, in order; None if not known."""
        if self.start is None or self.end is None or self.step is None:
            return None
        return arange(0, extent)[self.start : self.end : self.step]

    @property
    def whole(self) -> bool:
        """Whether the axis is left as it is, whatever its extent."""
        return self.start == 0 and self.step == 1 and self.end is not None and self.end >= _END


def propagate_slice(node: OpNode) -> Iterable[Fact]:
    """Slots are tied along the picked indices; slots that are not picked go nowhere."""
    for operand in range(1, len(node.inputs)):
        yield from pin_operand(node, operand)
    bounds = slice_bounds(node)
    if bounds is None:
        yield from pin_tensors(node, (node.inputs[0], node.outputs[0]), "sliced on unknown axes")
        return
    unknown = any(None in (b.start, b.end, b.step) for b in bounds.values())
    for dim, extent in enumerate(known(node.in_shape(0))):
        source, target = node.in_axis(0, dim), node.out_axis(dim)
        if dim not in bounds or bounds[dim].whole:
            yield Tie(source, target)
            continue
        index = bounds[dim].index(extent) if extent is not None else None
        if index is None or (bounds[dim].step not in (1, -1) and unknown):
            yield Pin(source, RUN_TIME)
            yield Pin(target, RUN_TIME)
        elif len(index):
            yield Tie(source, target, index, None)


def slice_bounds(node: OpNode) -> dict[int, Bounds] | None:
    """What happens to each sliced axis (attributes before opset 10, inputs since)."""
    if node.has_input(1):
        starts, ends, axes, steps = (_entries(node, k) for k in (1, 2, 3, 4))
    else:
        starts, ends = node.attr("starts"), node.attr("ends")
        axes, steps = node.attr("axes"), None
    if starts is None or ends is None or (axes is None and node.has_input(3)):
        return None
    rank, found = len(known(node.in_shape(0))), {}
    for entry, (start, end) in enumerate(zip(starts, ends, strict=True)):
        axis = entry if axes is None else axes[entry]
        if axis is None:
            return None
        step = steps[entry] if steps is not None else None if node.has_input(4) else 1
        found[axis % rank] = Bounds(entry, start, end, step)
    return found


def _entries(node: OpNode, operand: int) -> list[int | None] | None:
    if not node.has_input(operand):
        return None
    entries = node.facts.partial(node.inputs[operand])
    if entries is not None:
        return list(entries)
    seen = node.facts.samples(node.inputs[operand])
    return [None] * seen[0][0] if seen and len(set(seen)) == 1 else None


def shrink_slice(node: OpNode, keep: Keep) -> Iterable[Edit]:
    """New bounds where the kept slots still follow each other evenly, else a Gather."""
    bounds = slice_bounds(node) or {}
    even: dict[int, Bounds] = {}
    uneven: dict[int, IntArray] = {}
    for dim, bound in bounds.items():
        kept, extent = keep.index(node.in_axis(0, dim)), known(node.in_shape(0))[dim]
        index = bound.index(extent) if extent is not None else None
        if kept is None or index is None or bound.whole:
            continue
        picked = np.searchsorted(kept, index[np.isin(index, kept)])
        fresh = _progression(bound, picked)
        if fresh is None:
            uneven[dim] = picked
        else:
            even[dim] = fresh
    if uneven:
        rest = {dim: b for dim, b in (bounds | even).items() if dim not in uneven}
        yield _gather_then_slice(node, uneven, rest)
    elif even:
        yield from _set_bounds(node, even, bounds)


def _progression(bound: Bounds, picked: IntArray) -> Bounds | None:
    """The bounds that pick these indices; None if their distances differ."""
    if len(picked) == 0:
        return Bounds(bound.entry, 0, 0, bound.step)
    distances = np.unique(np.diff(picked))
    if len(distances) > 1:
        return None
    step = int(distances[0]) if len(distances) else bound.step or 1
    end = int(picked[-1]) + (1 if step > 0 else -1)
    return Bounds(bound.entry, int(picked[0]), end if end >= 0 else -_END, step)


def _set_bounds(node: OpNode, fresh: dict[int, Bounds], old: dict[int, Bounds]) -> Iterator[Edit]:
    starts = {b.entry: b.start or 0 for b in fresh.values()}
    ends = {b.entry: b.end or 0 for b in fresh.values()}
    if not node.has_input(1):
        for name, entries in (("starts", starts), ("ends", ends)):
            yield SetAttribute(name, [entries.get(k, v) for k, v in enumerate(node.attr(name))])
        return
    yield SetDims(1, starts)
    yield SetDims(2, ends)
    steps = {b.entry: b.step or 1 for dim, b in fresh.items() if b.step != old[dim].step}
    if steps:
        yield SetDims(4, steps)


def _gather_then_slice(
    node: OpNode, picked: dict[int, IntArray], rest: dict[int, Bounds]
) -> ReplaceNode:
    """The strided axes by Gather, what remains by Slice; every bound is known here."""
    source, out = node.inputs[0], node.outputs[0]
    nodes, constants = [], {f"{out}_cut_{dim}": index for dim, index in picked.items()}
    for number, dim in enumerate(picked):
        last = number == len(picked) - 1 and not rest
        target = out if last else f"{out}_cut_{dim}_picked"
        nodes.append(helper.make_node("Gather", [source, f"{out}_cut_{dim}"], [target], axis=dim))
        source = target
    if rest:
        columns = zip(*((b.start, b.end, dim, b.step) for dim, b in rest.items()), strict=True)
        names = [f"{out}_cut_{name}" for name in ("starts", "ends", "axes", "steps")]
        constants |= {
            name: np.array(column, dtype=np.int64)
            for name, column in zip(names, columns, strict=True)
        }
        nodes.append(helper.make_node("Slice", [source, *names], [out]))
    nodes[-1].name = node.proto.name
    return ReplaceNode(tuple(nodes), constants)


RULES: Family = {"Slice": OpRule(propagate_slice, shrink_slice)}
