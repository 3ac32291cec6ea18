"""Units that training drives to exact zero (method 7.5).

A unit is zero-invariant if its readers see nothing but zeros once the weights that make it are
zero.  After each step of the optimizer the weights x of a unit that is to go are moved towards zero
by a penalty on their length; they become zero, for good, when less than epsilon of x is left along
x (the half-space projection, Chen et al. 2021).  Their length may never exceed a line that falls
from what it was to nothing, so that all have come to zero when it ends.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from onnxslim_snacs.ir.types import Axis, IntArray
from onnxslim_snacs.torch_graph.late import torch

if TYPE_CHECKING:
    from torch import Tensor

#: Share of the training by whose end all have come to zero.
PERIOD = 0.4
#: Of the penalty on the length; what has to be left along the weights, for them to stay.
PENALTY, EPSILON = 1e-2, 0.95

#: (units, numbers) for each part of a group.
Rows = list["Tensor"]


@dataclass(frozen=True, slots=True)
class FadingPart:
    """Where some units of a group lie on one weight.

    Attributes:
        key: the weight.
        dim: its axis.
        index: (units, multiplicity) slots on it.
    """

    key: str
    dim: int
    index: Tensor

    def rows(self, value: Tensor) -> Tensor:
        """(units, numbers) of the weight."""
        moved = value.detach().movedim(self.dim, 0)
        return moved[self.index.reshape(-1)].reshape(len(self.index), -1)

    def put(self, value: Tensor, rows: Tensor) -> None:
        """Write (units, numbers) back."""
        moved = value.detach().movedim(self.dim, 0)  # shares its memory with the weight
        moved[self.index.reshape(-1)] = rows.reshape(-1, *moved.shape[1:])


@dataclass(frozen=True, slots=True)
class Fading:
    """The units that are to become zero.

    Attributes:
        groups: group -> its parts.
        lengths: group -> (units,) length of their weights in the beginning.
    """

    groups: Mapping[str, Sequence[FadingPart]]
    lengths: Mapping[str, Tensor]

    def rows(self, values: Mapping[str, Tensor]) -> dict[str, Rows]:
        """The weights of all of them, (units, numbers) for each part, group by group."""
        return {
            name: [part.rows(values[part.key]) for part in parts]
            for name, parts in self.groups.items()
        }

    def fade(
        self,
        values: Mapping[str, Tensor],
        before: Mapping[str, Rows],
        rate: float,
        share: float,
        *copies: Mapping[str, Tensor],
    ) -> None:
        """Move the units on towards zero after a step.

        Args:
            values: the weights after the step; changed in place.
            before: what `rows` gave before the step.
            rate: of the step.
            share: of the training that is done.
            copies: of the weights, in which units become zero that have done so here.
        """
        left = max(0.0, 1.0 - share / PERIOD)
        for name, parts in self.groups.items():
            now = [part.rows(values[part.key]) for part in parts]
            x, stepped = torch.cat(before[name], 1), torch.cat(now, 1)
            made = half_space(x, stepped, rate * PENALTY, EPSILON)
            length = made.norm(dim=1)
            most = self.lengths[name] * left
            made = made * (most / length.clamp(min=1e-30)).clamp(max=1.0)[:, None]
            gone = made.abs().sum(dim=1) == 0.0
            for part, rows in zip(parts, made.split([r.shape[1] for r in now], 1), strict=True):
                part.put(values[part.key], rows)
                for copy in copies:
                    kept = part.rows(copy[part.key])
                    part.put(copy[part.key], kept * ~gone[:, None])


def half_space(before: Tensor, stepped: Tensor, penalty: float, epsilon: float) -> Tensor:
    """(units, numbers) the weights after a step and the projection.

    Args:
        before: (units, numbers) x before the step.
        stepped: (units, numbers) x - rate * gradient, or what another optimizer makes of it.
        penalty: rate * lambda.
        epsilon: how much of x has to be left along x.
    """
    length = before.norm(dim=1, keepdim=True)
    trial = stepped - penalty * before / length.clamp(min=1e-30)
    stays = (trial * before).sum(dim=1, keepdim=True) >= epsilon * length.square()
    return torch.where(stays & (length > 0.0), trial, torch.zeros_like(trial))


def open_fading(
    values: Mapping[str, Tensor], units: Sequence[tuple[str, Axis, IntArray]]
) -> Fading:
    """The units that are to become zero.

    Args:
        values: weights by key.
        units: (group, axis of a weight, (units, multiplicity) slots of those that go).
    """
    groups: dict[str, list[FadingPart]] = {}
    for name, axis, index in units:
        device = values[axis.tensor].device
        place = torch.from_numpy(index).to(device)
        groups.setdefault(name, []).append(FadingPart(axis.tensor, axis.dim, place))
    fading = Fading(groups, {})
    rows = fading.rows(values)
    return Fading(
        groups, {name: torch.cat(several, 1).norm(dim=1) for name, several in rows.items()}
    )
