"""Numbers for slots: every axis that takes part gets a run of consecutive integers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from onnxslim_snacs.errors import LimitExceeded, ShapesDisagree, foreign
from onnxslim_snacs.ir.types import Axis, IntArray

#: Slots of all axes of a model together; each takes some hundred bytes in the end.
MOST_SLOTS = 1 << 26


@dataclass(slots=True)
class SlotTable:
    """Axis -> its run of slots, handed out on first mention.

    Attributes:
        axes: the axes in the order of their numbers.
        offsets: first slot of each axis.
        extents: number of slots of each axis.
    """

    axes: list[Axis] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    extents: list[int] = field(default_factory=list)
    numbers: dict[Axis, int] = field(default_factory=dict)
    size: int = 0

    def add(self, axis: Axis, extent: int) -> int:
        """Number of the axis, which gets its slots if it has none yet.

        Raises:
            LimitExceeded: the axes of the model are too long.
        """
        number = self.numbers.get(axis)
        if number is None:
            number = self.numbers[axis] = len(self.axes)
            self.axes.append(axis)
            self.offsets.append(self.size)
            self.extents.append(extent)
            self.size += extent
            if self.size > MOST_SLOTS:
                raise LimitExceeded(
                    f"the axes of the tensors have more than {MOST_SLOTS:,} entries in all; "
                    f"{foreign(axis)} alone has {extent:,}"
                )
        return number

    def slots(self, axis: Axis, index: IntArray | None = None) -> IntArray:
        """(slots,) of an axis that is in the table: all, or those at entries `index`.

        Raises:
            ShapesDisagree: an index lies beyond the axis.
        """
        number = self.numbers[axis]
        offset = self.offsets[number]
        if index is None:
            return np.arange(offset, offset + self.extents[number], dtype=np.int64)
        places = np.asarray(index, dtype=np.int64)
        if len(places) and not 0 <= places.min() <= places.max() < self.extents[number]:
            raise ShapesDisagree(
                f"{foreign(axis)} is asked for entry {places.max()}, but has {self.extents[number]}"
            )
        return offset + places

    def extent(self, axis: Axis) -> int:
        """Number of slots of an axis that is in the table."""
        return self.extents[self.numbers[axis]]

    def __contains__(self, axis: Axis) -> bool:
        return axis in self.numbers

    def axis_of_slots(self) -> IntArray:
        """(slots,) the number of the axis on which each slot lies."""
        return np.repeat(np.arange(len(self.axes), dtype=np.int64), self.extents)


def joined(parts: Iterable[IntArray]) -> IntArray:
    """(all,) parts, (part,) each, one after the other; empty if there are none."""
    arrays = list(parts)
    return np.concatenate(arrays) if arrays else np.empty(0, dtype=np.int64)
