"""What stays, axis by axis."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxslim_snacs.ir.build import DependencyGraph
from onnxslim_snacs.ir.types import Axis, BoolArray, IntArray, is_virtual, node_of


@dataclass(frozen=True)
class KeepMap:
    """The kept slots of every axis that loses some.

    Attributes:
        kept: axis -> its kept slots in ascending order; axes that lose nothing are absent.
        periods: axis of an extent that changes with the input -> of how many slots each stands
            for every index that is equal to it modulo their number.
    """

    kept: Mapping[Axis, IntArray]
    periods: Mapping[Axis, int] = field(default_factory=dict)

    def index(self, axis: Axis) -> IntArray | None:
        """(kept,) the slots of an axis that stay, in ascending order; None if all do."""
        return self.kept.get(axis)

    def extent(self, axis: Axis, before: int) -> int:
        """How many of the `before` slots are kept."""
        kept = self.kept.get(axis)
        return before if kept is None else len(kept) * (before // self.periods.get(axis, before))

    def scale(self, axis: Axis) -> tuple[int, int] | None:
        """(kept, period) for an axis with a period that loses slots, else None."""
        kept = self.kept.get(axis)
        return None if kept is None or axis not in self.periods else (len(kept), self.periods[axis])

    def cut(self, tensor: str, array: NDArray[Any], whole: int | None = None) -> NDArray[Any]:
        """What is left of a tensor's values.

        Args:
            tensor: its name.
            array: its values, or those of a tensor with the same axes, in the original's shape.
            whole: a dimension that is left as it is.
        """
        for dim in range(array.ndim):
            index = self.kept.get(Axis(tensor, dim))
            if index is not None and dim != whole:
                array = np.take(array, index, axis=dim)
        return array

    def touches(self, tensors: Iterable[str]) -> bool:
        """Whether any of the tensors loses a slot on any axis."""
        return any(tensor in self._tensors for tensor in tensors)

    def touches_node(self, key: str) -> bool:
        """Whether an axis that belongs to the node with this key loses slots."""
        return key in self._nodes

    @cached_property
    def _tensors(self) -> frozenset[str]:
        return frozenset(axis.tensor for axis in self.kept)

    @cached_property
    def _nodes(self) -> frozenset[str]:
        return frozenset(node_of(axis) for axis in self.kept if is_virtual(axis))


@dataclass(frozen=True, slots=True)
class Extents:
    """How many slots of every axis are kept, where it does not matter which.

    Attributes:
        kept: axis -> how many; axes that lose nothing are absent.
        periods: as those of a `KeepMap`.
    """

    kept: Mapping[Axis, int]
    periods: Mapping[Axis, int]

    def extent(self, axis: Axis, before: int) -> int:
        """How many of the `before` slots are kept."""
        kept = self.kept.get(axis)
        return before if kept is None else kept * (before // self.periods.get(axis, before))


def kept_extents(ir: DependencyGraph, kept: Mapping[str, BoolArray]) -> Extents:
    """The extents of `keep_map`, without its slots, which take far longer.

    Args:
        ir: the dependency IR.
        kept: group id -> (units,) whether each unit stays; groups that are absent stay whole.
    """
    gone: dict[Axis, list[IntArray]] = {}
    for group in ir.groups:
        stays = kept.get(group.id)
        if stays is None or stays.all():
            continue
        out = np.flatnonzero(~stays)
        for member in group.members:
            gone.setdefault(member.axis, []).append(member.index[out])
    found = {}
    for axis, slots in gone.items():
        # units of one group have no slot in common, those of two may: heads and their dimensions
        several = len(slots) > 1
        lost = (
            len(np.unique(np.concatenate([s.reshape(-1) for s in slots])))
            if several
            else slots[0].size
        )
        found[axis] = ir.table.extent(axis) - lost
    return Extents(found, ir.periods)


def keep_map(ir: DependencyGraph, kept: Mapping[str, BoolArray]) -> KeepMap:
    """Turn decisions on units into kept slots.

    Args:
        ir: the dependency IR.
        kept: group id -> (units,) whether each unit stays; groups that are absent stay whole.

    Raises:
        ValueError: a group is not known, has another number of units, or would lose every unit.
    """
    groups = {group.id: group for group in ir.groups}
    masks: dict[Axis, BoolArray] = {}
    for name, stays in kept.items():
        group = groups.get(name)
        if group is None:
            raise ValueError(f"group {name}: the model has no such group")
        if len(stays) != group.units:
            raise ValueError(f"group {name}: expected {group.units} units, got {len(stays)}")
        if not stays.any():
            raise ValueError(f"group {name}: at least one unit has to stay")
        if stays.all():
            continue
        for member in group.members:
            mask = masks.setdefault(member.axis, np.ones(ir.table.extent(member.axis), dtype=bool))
            mask[member.index[~stays].reshape(-1)] = False
    return KeepMap({axis: np.flatnonzero(mask) for axis, mask in masks.items()}, ir.periods)
