"""Why slots stay: which statement is told of the many that hold them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from onnxslim_snacs.ir.table import SlotTable, joined
from onnxslim_snacs.ir.types import IntArray, Pin, PinReason, Sink, Split, Stated, Tie

Pins = list[tuple[IntArray, int]]
Splits = list[tuple[Split, int]]

HELD_PARTS = (
    "the axis is made of equal parts, and neither whole parts nor the same share of every part "
    "can go: what reads or makes it elsewhere holds on to both"
)


def explain(
    facts: Sequence[Stated],
    sinks: Sequence[tuple[int, Sink]],
    splits: Splits,
    table: SlotTable,
    labels: Sequence[IntArray],
    pinned: Sequence[IntArray],
    origin: IntArray,
) -> tuple[PinReason, ...]:
    """The causes for which channel axes of weights are pinned in every view, each once.

    Where the cause is a split axis, what pins its factors is told instead.

    Args:
        facts: what the rules have stated.
        sinks: the layers, with the positions of their nodes.
        splits: axes that are products of others, with the numbers of their statements.
        table: the slots of all axes.
        labels: of each view, (slots,) the component of each slot.
        pinned: of each view, (components,) the number of the fact that pins it, or -1.
        origin: (slots,) the pin that reaches each slot in the end, or -1.
    """
    causes: dict[int, None] = {}
    held = np.zeros(table.size, dtype=bool)
    for _, sink in sinks:
        for axis in (sink.axis, sink.weight_out, sink.out):
            if axis is None or axis not in table or table.extent(axis) == 1:
                continue
            slots = table.slots(axis)
            cause = np.stack([pin[label[slots]] for label, pin in zip(labels, pinned, strict=True)])
            stuck = (cause >= 0).all(axis=0)
            held[slots[stuck]] = True
            causes.update(dict.fromkeys(np.unique(cause[0, stuck]).tolist()))
    whole = (number for split, number in splits if held[table.slots(split.fine)].all())
    behind = (behind_split(facts, table, origin, number) for number in (*causes, *whole))
    told = sorted({number for numbers in behind for number in numbers})
    return tuple(dict.fromkeys(pin_reason(facts[number]) for number in told))


def first_pins(facts: Sequence[Stated], base: IntArray, pins: Pins) -> IntArray:
    """(slots,) the first pin that reaches each slot by ties alone, or -1.

    A pin on an axis that is no channel axis by its nature gives way to any other.
    """
    none = np.iinfo(np.int64).max
    best = np.full(int(base.max(initial=-1)) + 1, none, dtype=np.int64)
    for slots, number in pins:
        fact = facts[number].fact
        structural = isinstance(fact, Pin) and fact.structural
        np.minimum.at(best, base[slots], number + (len(facts) if structural else 0))
    best[best == none] = -1
    best[best >= len(facts)] -= len(facts)
    reached: IntArray = best[base]
    return reached


def split_sides(
    table: SlotTable, splits: Splits, base: IntArray
) -> list[tuple[IntArray, IntArray]]:
    """For each split the components of its fine axis, and those of all its factors.

    Args:
        table: the slots of all axes.
        splits: axes that are products of others.
        base: (slots,) the component of each slot.
    """
    return [
        (base[table.slots(split.fine)], base[joined(map(table.slots, split.factors))])
        for split, _ in splits
    ]


def through_splits(table: SlotTable, splits: Splits, base: IntArray, first: IntArray) -> IntArray:
    """(slots,) the pins that reach each slot, through split axes that stay as a whole as well.

    Args:
        table: the slots.
        splits: the split axes.
        base: (slots,) components by ties alone.
        first: (slots,) the pin that reaches each slot by ties alone, or -1.
    """
    best = np.full(int(base.max(initial=-1)) + 1, -1, dtype=np.int64)
    best[base] = first
    sides = split_sides(table, splits, base)
    grown = True
    while grown:
        grown = False
        for fine, factors in sides:
            for there, here in ((fine, factors), (factors, fine)):
                if (best[there] >= 0).all() and (best[here] < 0).any():
                    best[here[best[here] < 0]] = best[there[0]]
                    grown = True
    reached: IntArray = best[base]
    return reached


def behind_split(
    facts: Sequence[Stated], table: SlotTable, origin: IntArray, number: int
) -> tuple[int, ...]:
    """The pins on the factors of a split axis, where the statement is such a split.

    Each factor may be held by another one.  Axes that are no channel axes by their nature are told
    of only where nothing else holds.
    """
    fact = facts[number].fact
    if not isinstance(fact, Split):
        return (number,)
    # an axis whose extent changes with the input has no slots, and nothing that holds them
    fine, *factors = (
        int(origin[table.slots(axis)[0]]) if axis in table else -1
        for axis in (fact.fine, *fact.factors)
    )
    held = [cause for cause in factors if cause >= 0 and not _is_structural(facts[cause])]
    if not held:
        held = [cause for cause in (fine, *factors) if cause >= 0][:1] or [number]
    return tuple(dict.fromkeys(held))


def _is_structural(item: Stated) -> bool:
    return isinstance(item.fact, Pin) and item.fact.structural


def pin_reason(item: Stated) -> PinReason:
    """A statement as the reason of a pin."""
    fact = item.fact
    if isinstance(fact, Pin):
        return PinReason(item.name, item.op, str(fact.axis), fact.reason)
    if isinstance(fact, Split):
        return PinReason(item.name, item.op, str(fact.fine), HELD_PARTS)
    assert isinstance(fact, Tie)
    return PinReason(item.name, item.op, str(fact.a), "meets an extent that changes with the input")
