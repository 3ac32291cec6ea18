"""From components to groups: units that lie on the same axes in the same way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from onnxslim_snacs.ir.table import SlotTable
from onnxslim_snacs.ir.types import Axis, BoolArray, Group, GroupAxis, IntArray, is_virtual

_Hash = NDArray[np.uint64]


@dataclass(slots=True)
class GroupCandidates:
    """Collects the free components of each view.

    Attributes:
        table: the slots.
        axis_of: (slots,) number of the axis of each slot.
        units: for each unit its slots in ascending order.
        seen: hashes of the units that an earlier view has found as well.
    """

    table: SlotTable
    axis_of: IntArray
    runs: list[tuple[IntArray, IntArray, _Hash]] = field(default_factory=list)
    seen: set[int] = field(default_factory=set)

    def add(self, label: IntArray, pinned: BoolArray) -> None:
        """Take in the components of one view that are not pinned and not yet known."""
        order = np.argsort(label, kind="stable")
        free = order[~pinned[label[order]]]
        if not len(free):
            return
        starts = np.flatnonzero(np.r_[True, np.diff(label[free]) != 0])
        identity = np.add.reduceat(_mix(free.astype(np.uint64)), starts)
        fresh = np.array([int(h) not in self.seen for h in identity])
        self.seen.update(int(h) for h in identity)
        lengths = np.diff(np.r_[starts, len(free)])
        take = np.repeat(fresh, lengths)
        free, lengths = free[take], lengths[fresh]
        if not len(free):
            return
        unit = np.repeat(np.arange(len(lengths)), lengths)
        kind = np.zeros(len(lengths), dtype=np.uint64)
        np.add.at(kind, unit, _mix(self.axis_of[free].astype(np.uint64)))
        self.runs.append((free, lengths, kind))


def _mix(values: _Hash) -> _Hash:
    """splitmix64: spreads consecutive numbers over 64 bits, so that sums of them rarely collide."""
    with np.errstate(over="ignore"):
        z = (values + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def collect_groups(
    found: GroupCandidates, is_weight: Callable[[str], bool], makers: Sequence[Axis] = ()
) -> tuple[Group, ...]:
    """Group the units by the multiset of axes on which they lie.

    Units that lie on no weight are left out: nothing would get smaller without them.  So are single
    units on axes of their own, for the last unit of an axis never goes.

    Args:
        found: the components.
        is_weight: whether a tensor follows from constants alone.
        makers: the axes that make channels, in graph order; a group is named by its first, for that
            is the layer by which a person knows it.
    """
    rank = {axis: number for number, axis in reversed(list(enumerate(makers)))}
    groups: list[tuple[int, Group]] = []
    for slots, lengths, kind in found.runs:
        starts = np.r_[0, np.cumsum(lengths)[:-1]]
        for signature in np.unique(kind):
            members = np.flatnonzero(kind == signature)
            matrix = slots[starts[members][:, None] + np.arange(lengths[members[0]])]
            matrix = matrix[np.argsort(matrix[:, 0], kind="stable")]
            group = _group(found, matrix, rank)
            if group is not None and any(is_weight(m.axis.tensor) for m in group.members):
                groups.append((int(matrix[0, 0]), group))
    shared = {m.axis for _, group in groups if group.units > 1 for m in group.members}
    groups = [g for g in groups if g[1].units > 1 or any(m.axis in shared for m in g[1].members)]
    groups.sort(key=lambda item: item[0])
    return tuple(
        Group(f"g{number:04d}", group.label, group.units, group.members)
        for number, (_, group) in enumerate(groups)
    )


def _group(found: GroupCandidates, matrix: IntArray, rank: dict[Axis, int]) -> Group | None:
    """A group from its (units, slots per unit) matrix; None if it lies on no real axis."""
    table, columns = found.table, found.axis_of[matrix[0]]
    numbers, first, counts = np.unique(columns, return_index=True, return_counts=True)
    # of thousands of axes each knows its columns, without a look at those of all
    own = np.split(np.argsort(columns, kind="stable"), np.cumsum(counts)[:-1])
    members = tuple(
        GroupAxis(table.axes[numbers[k]], matrix[:, own[k]] - table.offsets[numbers[k]])
        for k in np.argsort(first)
    )
    real = [m.axis for m in members if not is_virtual(m.axis)]
    if not real:
        return None
    label = min(real, key=lambda axis: rank.get(axis, len(rank)))
    return Group("", str(label), len(matrix), members)
