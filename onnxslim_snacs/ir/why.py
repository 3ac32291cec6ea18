"""Why a slot is pinned: the shortest chain of ties from it to a pin."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from onnxslim_snacs.ir.build import DependencyGraph
from onnxslim_snacs.ir.explain import behind_split, pin_reason
from onnxslim_snacs.ir.table import joined
from onnxslim_snacs.ir.types import Axis, IntArray, Pin, Split, Stated, is_virtual
from onnxslim_snacs.ir.views import factor_slots


@dataclass(frozen=True, slots=True)
class Link:
    """One step of the chain.

    Attributes:
        axis: where the chain is.
        because: how it got there, or why it ends.
    """

    axis: str
    because: str


def chain_to_pin(ir: DependencyGraph, tensor: str, rank: int) -> tuple[tuple[Link, ...], ...]:
    """For each axis of a tensor that is pinned, the ties that lead to the pin.

    Args:
        ir: the dependency IR.
        tensor: the tensor.
        rank: how many axes it has.

    Returns:
        A chain for each axis; a single link where an axis is free or has no slots.
    """
    return tuple(chain_of(ir, Axis(tensor, dim)) for dim in range(rank))


def chain_of(ir: DependencyGraph, axis: Axis) -> tuple[Link, ...]:
    """The ties from an axis to the pin that holds it; a single link if it is free."""
    if axis not in ir.table:
        return (Link(str(axis), "takes no part: nothing depends on it, or its extent is dynamic"),)
    slots, stuck = ir.table.slots(axis), held_slots(ir, axis)
    if not len(stuck):
        return (Link(str(axis), "is free to be pruned"),)
    cause = cause_of(ir, int(stuck[0]))
    goals = _slots_of(ir, ir.stated[cause])
    path, sources = _shortest(ir, int(stuck[0]), goals)
    axes = ir.table.axis_of_slots()
    links = [Link(str(axis), f"{len(stuck)} of {len(slots)} entries are pinned")]
    for slot, source in zip(path[1:], sources, strict=True):
        item = ir.stated[source]
        name = ir.table.axes[int(axes[slot])]
        shown = f"a factor inside {item.name}" if is_virtual(name) else str(name)
        links.append(Link(shown, f"tied by {item.name} ({item.op})"))
    reason = pin_reason(ir.stated[cause])
    links.append(Link(reason.axis, f"pinned by {reason.node} ({reason.op}): {reason.reason}"))
    whole = _splits_of(ir, axis) if len(stuck) == len(slots) else []
    behind = dict.fromkeys(
        number
        for split in (cause, *whole)
        for number in behind_split(ir.stated, ir.table, ir.origin, split)
    )
    for last in (pin_reason(ir.stated[number]) for number in behind if number != cause):
        links.append(
            Link(last.axis, f"and a part of it is pinned by {last.node} ({last.op}): {last.reason}")
        )
    return tuple(links)


def held_slots(ir: DependencyGraph, axis: Axis) -> IntArray:
    """(held,) the slots of an axis that stay in every view.

    What one view cannot cut, another may: heads stay where channels within them go.
    """
    slots = ir.table.slots(axis)
    held = [pin[label[slots]] >= 0 for label, pin in zip(ir.labels, ir.pinned, strict=True)]
    stuck: IntArray = slots[np.all(held, axis=0)]
    return stuck


def cause_of(ir: DependencyGraph, slot: int) -> int:
    """The statement for which a slot stays, where it stays in every view."""
    return int(ir.pinned[0][ir.labels[0][slot]])


def _splits_of(ir: DependencyGraph, axis: Axis) -> list[int]:
    """The statements that make an axis the product of others."""
    return [
        number
        for number, item in enumerate(ir.stated)
        if isinstance(item.fact, Split)
        and item.fact.fine == axis
        and all(factor in ir.table for factor in item.fact.factors)
    ]


def _slots_of(ir: DependencyGraph, item: Stated) -> IntArray:
    """The slots that a statement pins."""
    fact = item.fact
    if isinstance(fact, Pin):
        return ir.table.slots(fact.axis, fact.index)
    ends = [getattr(fact, name, None) for name in ("a", "b", "fine")]
    ends += list(getattr(fact, "factors", ()))
    return joined(ir.table.slots(axis) for axis in ends if axis is not None and axis in ir.table)


def _shortest(ir: DependencyGraph, start: int, goals: IntArray) -> tuple[list[int], list[int]]:
    """Slots from `start` to the nearest goal, and the statement behind each step."""
    a, b, source = [ir.ties.a], [ir.ties.b], [ir.ties.source]
    known = [
        (number, item.fact)
        for number, item in enumerate(ir.stated)
        if isinstance(item.fact, Split)
        and all(axis in ir.table for axis in (item.fact.fine, *item.fact.factors))
    ]
    for (number, split), choice in zip(known, ir.views[0].choice, strict=True):
        if choice >= 0:
            fine = ir.table.slots(split.fine)
            a.append(fine)
            b.append(factor_slots(ir.table, split, choice))
            source.append(np.full(len(fine), number, dtype=np.int64))
    left, right, by = joined(a), joined(b), joined(source)
    size = ir.table.size
    order, before = _breadth_first(left, right, size, start)
    reached = order[np.isin(order, goals)]
    if not len(reached):
        return [start], []
    path = [int(reached[0])]
    while path[-1] != start:
        path.append(int(before[path[-1]]))
    path.reverse()
    return path, [_tie_between(left, right, by, x, y) for x, y in pairwise(path)]


def _breadth_first(
    left: IntArray, right: IntArray, size: int, start: int
) -> tuple[IntArray, IntArray]:
    """What is reached from a slot, the nearest first, and from where each was reached.

    scipy has the same, but importing it takes longer than most analyses.
    """
    heads, tails = np.concatenate([left, right]), np.concatenate([right, left])
    by = np.argsort(heads, kind="stable")
    heads, tails = heads[by], tails[by]
    first = np.searchsorted(heads, np.arange(size + 1))
    before = np.full(size, -1, dtype=np.int64)
    before[start] = start
    levels = [np.array([start], dtype=np.int64)]
    while len(levels[-1]):
        near = levels[-1]
        counts = first[near + 1] - first[near]
        places = np.repeat(first[near] - np.cumsum(counts) + counts, counts)
        to, came = tails[places + np.arange(len(places))], np.repeat(near, counts)
        fresh = before[to] < 0
        to, came = to[fresh], came[fresh]
        found = np.sort(np.unique(to, return_index=True)[1])
        before[to[found]] = came[found]
        levels.append(to[found])
    return np.concatenate(levels), before


def _tie_between(left: IntArray, right: IntArray, by: IntArray, x: int, y: int) -> int:
    """The first statement that ties two slots."""
    tied = ((left == x) & (right == y)) | ((left == y) & (right == x))
    return int(by[np.flatnonzero(tied)[0]])
