"""From the facts that operators state to units, groups and pins."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from onnxslim_snacs.errors import ShapesDisagree, foreign
from onnxslim_snacs.ir.explain import Pins, Splits, explain, first_pins, split_sides, through_splits
from onnxslim_snacs.ir.groups import GroupCandidates, collect_groups
from onnxslim_snacs.ir.table import SlotTable, joined
from onnxslim_snacs.ir.types import (
    Axis,
    Blank,
    Extent,
    Group,
    Inexact,
    IntArray,
    Pin,
    PinReason,
    Sink,
    Split,
    Stated,
    Tie,
)
from onnxslim_snacs.ir.views import View, choose_views, components, factor_slots


@dataclass(frozen=True, slots=True)
class TieArrays:
    """All ties, flat.

    Attributes:
        a: (ties,) slots.
        b: (ties,) slots.
        source: (ties,) which statement each comes from.
    """

    a: IntArray
    b: IntArray
    source: IntArray


@dataclass(frozen=True, slots=True)
class DependencyGraph:
    """The dependency IR of a model.

    Attributes:
        groups: what can be pruned.
        pins: why the rest cannot, one entry for each cause.
        sinks: every summed axis with the position of its node.
        inexact: every axis over which statistics are taken, with the position of its node.
        blanks: every output that is filled up with zeros, with the position of its node.
        table: the slots.
        stated: every fact with its author; the rest refers to it by position.
        ties: the unconditional ties.
        views: the resolutions of split axes.
        labels: (slots,) the component of each slot, one array for each view.
        pinned: (components,) the statement that pins each component, or -1; one for each view.
        origin: (slots,) the pin that reaches each slot in the end, or -1; to explain with.
        periods: axes of an extent that changes with the input, with the number of their slots.
    """

    groups: tuple[Group, ...]
    pins: tuple[PinReason, ...]
    sinks: tuple[tuple[int, Sink], ...]
    table: SlotTable
    stated: tuple[Stated, ...]
    ties: TieArrays
    views: tuple[View, ...]
    labels: tuple[IntArray, ...]
    pinned: tuple[IntArray, ...]
    origin: IntArray
    periods: Mapping[Axis, int] = field(default_factory=dict)
    blanks: tuple[tuple[int, Blank], ...] = ()
    inexact: tuple[tuple[int, Inexact], ...] = ()


def build_graph(
    stated: Iterable[Stated],
    extent_of: Callable[[Axis], int | None],
    is_weight: Callable[[str], bool],
    periods: Mapping[Axis, int] | None = None,
) -> DependencyGraph:
    """Resolve the facts of a model into groups.

    Args:
        stated: the facts, in the order of the nodes.
        extent_of: the extent of a real axis, None where it is dynamic or unknown.
        is_weight: whether a tensor follows from constants alone; a group without any is dropped.
        periods: axes of an extent that changes with the input, with the number of their slots.
    """
    table = SlotTable()
    facts, periods = tuple(stated), periods or {}

    def slots_of(axis: Axis) -> int | None:
        return extent_of(axis) or periods.get(axis)

    ties, pins, splits, sinks = _number(facts, table, slots_of)
    axis_of = table.axis_of_slots()
    base = components(table.size, ties.a, ties.b)
    dead = _dead_factors(table, splits, base, joined(slots for slots, _ in pins))
    axis_class = _split_classes(table, splits, base)
    views = choose_views(table, [split for split, _ in splits], axis_class, dead)
    labels, pinned, found = [], [], GroupCandidates(table, axis_of)
    for view in views:
        label, pin = _resolve(view, table, ties, pins, splits)
        found.add(label, pin >= 0)
        labels.append(label)
        pinned.append(pin)
    origin = through_splits(table, splits, base, first_pins(facts, base, pins))
    makers = [s.weight_out for _, s in sinks if s.weight_out is not None]
    groups = collect_groups(found, is_weight, makers)
    return DependencyGraph(
        groups=groups,
        pins=explain(facts, sinks, splits, table, labels, pinned, origin),
        origin=origin,
        sinks=sinks,
        table=table,
        stated=facts,
        ties=ties,
        views=tuple(views),
        labels=tuple(labels),
        pinned=tuple(pinned),
        periods=periods,
        blanks=tuple((s.node, s.fact) for s in facts if isinstance(s.fact, Blank)),
        inexact=tuple((s.node, s.fact) for s in facts if isinstance(s.fact, Inexact)),
    )


def _number(
    facts: Sequence[Stated], table: SlotTable, extent_of: Callable[[Axis], int | None]
) -> tuple[TieArrays, Pins, Splits, tuple[tuple[int, Sink], ...]]:
    """Give every axis its slots and turn the facts into arrays."""
    virtual: dict[Axis, int] = {
        s.fact.axis: s.fact.size for s in facts if isinstance(s.fact, Extent)
    }

    def tracked(axis: Axis) -> bool:
        if axis in table:
            return True
        extent = virtual.get(axis) or extent_of(axis)
        if not extent:
            return False
        table.add(axis, extent)
        return True

    a: list[IntArray] = []
    b: list[IntArray] = []
    source: list[IntArray] = []
    pins: Pins = []
    splits: Splits = []
    sinks: list[tuple[int, Sink]] = []
    for number, item in enumerate(facts):
        fact = item.fact
        if isinstance(fact, Pin):
            if tracked(fact.axis):
                pins.append((table.slots(fact.axis, fact.index), number))
        elif isinstance(fact, Tie):
            ends = [axis for axis in (fact.a, fact.b) if tracked(axis)]
            if len(ends) == 2:
                left, right = table.slots(fact.a, fact.ia), table.slots(fact.b, fact.ib)
                _same_length(item, left, right)
                a.append(left)
                b.append(right)
                source.append(np.full(len(left), number, dtype=np.int64))
            else:  # tied to an extent that changes with the input: nothing may go
                pins.extend((table.slots(axis), number) for axis in ends)
        elif isinstance(fact, Split):
            ends = [axis for axis in (fact.fine, *fact.factors) if tracked(axis)]
            if len(ends) == 1 + len(fact.factors):
                splits.append((fact, number))
            else:
                pins.extend((table.slots(axis), number) for axis in ends)
        elif isinstance(fact, Sink):
            tracked(fact.axis)
            sinks.append((item.node, fact))
    return TieArrays(joined(a), joined(b), joined(source)), pins, splits, tuple(sinks)


def _same_length(item: Stated, left: IntArray, right: IntArray) -> None:
    if len(left) != len(right):
        tie = item.fact
        assert isinstance(tie, Tie)
        raise ShapesDisagree(
            f"node {foreign(item.name)} ({foreign(item.op)}): {foreign(tie.a)} has {len(left)} "
            f"entries where {foreign(tie.b)} has {len(right)}: the shapes that the model declares "
            "or stores do not fit each other"
        )


def _split_classes(table: SlotTable, splits: Splits, base: IntArray) -> IntArray:
    """(axes,) the class of each axis that takes part in a split, -1 for the others.

    Axes of one class share slots, directly or through other axes of splits.  That an axis holds the
    slots of two others side by side (a fused projection) does not make one class of those.
    """
    axes = dict.fromkeys(axis for split, _ in splits for axis in (split.fine, *split.factors))
    numbers = np.array([table.numbers[axis] for axis in axes], dtype=np.int64)
    held = [base[table.slots(axis)] for axis in axes]
    sources = joined([np.full(len(h), k, dtype=np.int64) for k, h in enumerate(held)])
    size = len(held) + int(base.max(initial=-1)) + 1
    labels = components(size, sources, joined(held) + len(held))
    classes = np.full(len(table.axes), -1, dtype=np.int64)
    classes[numbers] = labels[: len(held)]
    return classes


def _dead_factors(
    table: SlotTable, splits: Splits, base: IntArray, pin_slots: IntArray
) -> set[Axis]:
    """Factors all of whose slots are pinned whatever the other splits choose.

    Where a fine axis stays as a whole, so do its factors, and the other way round.
    """
    pinned = np.zeros(int(base.max(initial=-1)) + 1, dtype=bool)
    pinned[base[pin_slots]] = True
    sides = split_sides(table, splits, base)
    grown = True
    while grown:
        grown = False
        for fine, factors in sides:
            whole = bool(pinned[fine].all())
            if whole != bool(pinned[factors].all()):
                pinned[factors if whole else fine] = True
                grown = True
    return {
        axis
        for split, _ in splits
        for axis in split.factors
        if pinned[base[table.slots(axis)]].all()
    }


def _resolve(
    view: View, table: SlotTable, ties: TieArrays, pins: Pins, splits: Splits
) -> tuple[IntArray, IntArray]:
    """Components of one view, and for each the first statement that pins it (-1: none)."""
    a, b = [ties.a], [ties.b]
    pin_slots = [slots for slots, _ in pins]
    pin_source = [np.full(len(slots), number, dtype=np.int64) for slots, number in pins]
    for choice, (split, number) in zip(view.choice, splits, strict=True):
        if choice >= 0:
            a.append(table.slots(split.fine))
            b.append(factor_slots(table, split, choice))
        idle = [f for k, f in enumerate(split.factors) if k != choice]
        idle += [split.fine] if choice < 0 else []
        for axis in idle:
            pin_slots.append(table.slots(axis))
            pin_source.append(np.full(table.extent(axis), number, dtype=np.int64))
    label = components(table.size, joined(a), joined(b))
    none = np.iinfo(np.int64).max
    pinned = np.full(int(label.max(initial=-1)) + 1, none, dtype=np.int64)
    np.minimum.at(pinned, label[joined(pin_slots)], joined(pin_source))
    pinned[pinned == none] = -1
    return label, pinned
