"""How split axes are resolved: each *view* lets one factor of every split live.

An axis that is the product of others (heads x head dimension, groups x channels) can only be cut
along one factor at a time, or along several if what is kept is an outer product.  A view picks one
live factor for each split; within a view everything is plain ties.  Cutting in several views at
once is sound, because the masks of the views multiply: method 1.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from onnxslim_snacs.ir.table import SlotTable
from onnxslim_snacs.ir.types import Axis, IntArray, Split

#: No model met so far needs more than four; the bound keeps a hostile one from taking forever.
MAX_VIEWS = 8
#: Choices that are tried for them.
MAX_TRIES = 64


@dataclass(frozen=True, slots=True)
class View:
    """One live factor for each split.

    Attributes:
        choice: for each split the position of its live factor, -1 if none can live.
    """

    choice: tuple[int, ...]


def components(size: int, a: IntArray, b: IntArray) -> IntArray:
    """(size,) the number of the connected component of each of `size` things tied pairwise.

    Components are numbered as they come.  Roots hook onto lower ones in rounds (Shiloach and
    Vishkin 1982); scipy has the same, but importing it takes longer than most analyses.
    """
    root = np.arange(size, dtype=np.int64)
    while len(a):
        low, high = np.minimum(root[a], root[b]), np.maximum(root[a], root[b])
        apart = low != high
        a, b = low[apart], high[apart]
        np.minimum.at(root, b, a)  # every root but the lowest of its neighbourhood finds another
        above = root[root]
        while not np.array_equal(above, root):
            root, above = above, above[above]
    labels: IntArray = (np.cumsum(root == np.arange(size)) - 1)[root]
    return labels


def factor_slots(table: SlotTable, split: Split, factor: int) -> IntArray:
    """(fine extent,) the slot of factor `factor` that each slot of the fine axis belongs to."""
    extents = [table.extent(axis) for axis in split.factors]
    index = np.arange(int(np.prod(extents)), dtype=np.int64)
    inner = int(np.prod(extents[factor + 1 :]))
    return table.slots(split.factors[factor], (index // inner) % extents[factor])


def choose_views(
    table: SlotTable, splits: Sequence[Split], axis_class: IntArray, dead: set[Axis]
) -> list[View]:
    """The views that together let every factor live that can live.

    Args:
        table: the slots.
        splits: all splits.
        axis_class: (axes,) class of each axis of a split; splits whose factors fall into one class
            have to choose alike.
        dead: factors that are pinned whatever is chosen.
    """
    if not splits:
        return [View(())]
    net = _net(table, splits, axis_class, dead)
    covered: set[tuple[int, int]] = set()
    views: list[View] = []
    for _ in range(MAX_TRIES):
        # Splits with a factor that has not lived yet choose first, lest others choose for them.
        order = sorted(range(len(splits)), key=lambda s: not _open(s, net.candidates, covered))
        first = [(order[0], k) for k in _open(order[0], net.candidates, covered)[:1]]
        choice = _choice(net, order, covered)
        alive = _alive(net, choice)
        if not views or not alive <= covered:
            views.append(View(tuple(choice)))
        covered |= alive.union(first)  # what chose first and does not live never will
        if not first or len(views) == MAX_VIEWS:
            break
    return views


@dataclass(frozen=True, slots=True)
class _Net:
    """Splits and what couples them.

    Attributes:
        candidates: for each split the factors that may live.
        classes: for each split the classes of its factors.
        fine_class: for each split the class of its fine axis.
        extents: for each split the extents of its factors.
        by_class: class -> the splits that have it as a factor, once for each such factor.
        by_fine: class and extents -> the splits of such a fine axis.
    """

    candidates: list[list[int]]
    classes: list[list[int]]
    fine_class: list[int]
    extents: list[tuple[int, ...]]
    by_class: dict[int, list[int]]
    by_fine: dict[tuple[int, tuple[int, ...]], list[int]]


def _net(table: SlotTable, splits: Sequence[Split], axis_class: IntArray, dead: set[Axis]) -> _Net:
    candidates = [
        [k for k, f in enumerate(split.factors) if f not in dead and table.extent(f) > 1]
        for split in splits
    ]
    classes = [[int(axis_class[table.numbers[f]]) for f in split.factors] for split in splits]
    fine_class = [int(axis_class[table.numbers[split.fine]]) for split in splits]
    extents = [tuple(table.extent(f) for f in split.factors) for split in splits]
    by_class: dict[int, list[int]] = {}
    for s, row in enumerate(classes):
        for c in row:
            by_class.setdefault(c, []).append(s)
    by_fine: dict[tuple[int, tuple[int, ...]], list[int]] = {}
    for s, c in enumerate(fine_class):
        by_fine.setdefault((c, extents[s]), []).append(s)
    return _Net(candidates, classes, fine_class, extents, by_class, by_fine)


def _choice(net: _Net, order: Sequence[int], covered: set[tuple[int, int]]) -> list[int]:
    """A live factor for each split, as far as what others have chosen leaves one."""
    choice = [-1] * len(order)
    for s in order:
        if choice[s] >= 0 or not net.candidates[s]:
            continue
        pending = [(s, (_open(s, net.candidates, covered) or net.candidates[s])[0])]
        while pending:
            t, k = pending.pop()
            if choice[t] >= 0 or k not in net.candidates[t]:
                continue
            choice[t] = k
            # What runs along the factor, and what the fine axis is itself a factor of.
            for live in (net.classes[t][k], net.fine_class[t]):
                coupled = net.by_class.get(live, ())
                pending.extend((u, net.classes[u].index(live)) for u in coupled)
            pending.extend((u, k) for u in net.by_fine[net.fine_class[t], net.extents[t]])
    return choice


def _alive(net: _Net, choice: Sequence[int]) -> set[tuple[int, int]]:
    """The chosen factors that no other split holds on to."""
    lives = [net.classes[t][k] if k >= 0 else -1 for t, k in enumerate(choice)]
    held = {c for c, splits in net.by_class.items() if any(lives[u] != c for u in splits)}
    return {
        (t, k)
        for t, k in enumerate(choice)
        if k >= 0 and lives[t] not in held and net.fine_class[t] not in held
    }


def _open(s: int, candidates: Sequence[Sequence[int]], covered: set[tuple[int, int]]) -> list[int]:
    """The factors of a split that have not lived in any view so far."""
    return [k for k in candidates[s] if (s, k) not in covered]
