"""From scores to decisions: which units of which group stay.

`uniform` takes the same share of every group; `by_quantile` ranks all units together.  Both are
monotone in one number, which `solve` finds for a budget.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from onnxslim_snacs.errors import NothingToPrune
from onnxslim_snacs.ir.types import BoolArray, Group
from onnxslim_snacs.plan.kept import Kept, Scores

#: The golden ratio: its multiples modulo 1 spread evenly (Knuth, TAOCP 3, 6.4).
_GOLDEN = 0.6180339887498949


@dataclass(frozen=True, slots=True)
class Constraints:
    """What a decision may not do.

    Attributes:
        multiple_of: kept counts are rounded up to a multiple of this.
        limits: group id -> largest share of its units that may go; absent means all but one.
        protected: group id -> (units,) units that may not go.
        frozen: groups that the user protects altogether.
    """

    multiple_of: int = 1
    limits: Mapping[str, float] = field(default_factory=dict)
    protected: Mapping[str, BoolArray] = field(default_factory=dict)
    frozen: frozenset[str] = frozenset()


def most_removable(group: Group, constraints: Constraints) -> int:
    """How many units of a group may go at the most."""
    if group.id in constraints.frozen:
        return 0
    guarded = constraints.protected.get(group.id)
    floor = 1 if guarded is None else max(1, int(guarded.sum()))
    share = constraints.limits.get(group.id, 1.0)
    return min(group.units - floor, int(np.floor(share * group.units + 1e-9)))


def rounded(group: Group, removed: float, constraints: Constraints) -> int:
    """How many units really go if `removed` are to go."""
    count = max(0, min(int(removed), most_removable(group, constraints)))
    step = constraints.multiple_of
    return max(0, group.units - -(-(group.units - count) // step) * step)


def remove_lowest(
    group: Group, scores: NDArray[np.float64], count: int, constraints: Constraints
) -> BoolArray:
    """(units,) whether each unit stays when the `count` lowest unprotected ones go."""
    guarded = constraints.protected.get(group.id, np.zeros(group.units, dtype=bool))
    order = np.lexsort((np.arange(group.units), scores, guarded))
    stays = np.ones(group.units, dtype=bool)
    stays[order[:count]] = False
    return stays


def uniform(
    groups: tuple[Group, ...], scores: Scores, share: float, constraints: Constraints
) -> Kept:
    """Remove the same share of the units of every group, rounded to the nearest number.

    Args:
        groups: what can be pruned.
        scores: group id -> (units,), of which the lowest go first.
        share: to remove, from 0 to 1.
        constraints: multiples, limits and protected units.

    Returns:
        Group id -> (units,) whether each unit stays.
    """
    return {
        g.id: remove_lowest(
            g, scores[g.id], rounded(g, np.floor(share * g.units + 0.5), constraints), constraints
        )
        for g in groups
    }


def staggered(
    groups: tuple[Group, ...], scores: Scores, share: float, constraints: Constraints
) -> Kept:
    """As `uniform`, but groups of one size do not all step at once, so that budgets are met."""
    kept = {}
    for number, g in enumerate(groups):
        phase = ((number + 1) * _GOLDEN) % 1.0
        count = rounded(g, np.floor(share * g.units + phase), constraints)
        kept[g.id] = remove_lowest(g, scores[g.id], count, constraints)
    return kept


def by_quantile(
    groups: tuple[Group, ...], scores: Scores, share: float, constraints: Constraints
) -> Kept:
    """Rank all units together and remove a share of them, lowest first; as `uniform` otherwise.

    Groups at their limit are left as they are, see method 3.9.
    """
    everything = np.sort(np.concatenate([scores[g.id] for g in groups]))
    count = min(len(everything), round(share * len(everything)))
    threshold = -np.inf if count == 0 else everything[count - 1]
    kept = {}
    for g in groups:
        below = int((scores[g.id] <= threshold).sum())
        kept[g.id] = remove_lowest(g, scores[g.id], rounded(g, below, constraints), constraints)
    return kept


Allocation = Callable[[tuple[Group, ...], Scores, float, Constraints], Kept]


def solve(
    decide: Callable[[float], Kept],
    price: Callable[[Kept], float],
    target: float,
    *,
    steps: int = 40,
) -> tuple[Kept, float]:
    """The mildest decision whose price does not exceed the target.

    Args:
        decide: share to remove, 0 ... 1 -> decision; a larger share removes no less.
        price: decision -> its cost as a share of the original's.
        target: the share to keep.
        steps: bisection steps.

    Returns:
        (decision, its price).

    Raises:
        NothingToPrune: even the deepest cut costs more.
    """
    deepest = decide(1.0)
    least = price(deepest)
    if least > target:
        raise NothingToPrune(
            f"the target {target:g} cannot be met: with everything removed that may go, "
            f"{least:.3f} of the original is left"
        )
    low, high, best = 0.0, 1.0, (deepest, least)
    mildest: Kept = {}
    for _ in range(steps):
        middle = (low + high) / 2
        kept = decide(middle)
        if _same(kept, best[0]):  # a price takes far longer than a decision
            high = middle
        elif _same(kept, mildest) or (cost := price(kept)) > target:
            low, mildest = middle, kept
        else:
            high, best = middle, (kept, cost)
    return best


def _same(a: Kept, b: Kept) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)
