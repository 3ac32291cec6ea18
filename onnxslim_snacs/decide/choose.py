"""From scores and a budget to what is kept: a fixed ratio, a target, or a tolerated drop."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from onnxslim_snacs.decide.allocation import (
    Allocation,
    Constraints,
    solve,
    uniform,
)
from onnxslim_snacs.decide.tilt import Tilt
from onnxslim_snacs.errors import NothingToPrune
from onnxslim_snacs.ir.types import Group
from onnxslim_snacs.plan.kept import Kept, Scores

Price = Callable[[Kept], float]
#: By how much a cut becomes milder that was judged too well, and where that ends: ten confirmations
#: span a factor of ten, and below a thousandth of the units there is nothing to take back.
_BACK, _LEAST = 0.8, 1e-3
#: One answer in a hundred is 1 - 0.99, which is more than 0.01 by this machine's arithmetic.
ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Choice:
    """A decision and how it came about.

    Attributes:
        kept: group id -> (units,) whether each unit stays.
        price: what the budget's price came to; 1 is the target itself.
        exceeded: groups that had to go beyond their limit, with the limit and the share removed.
        tried: (share to remove, drop) of the automatic decision's attempts.
        tilts: corrections of the error curves that were judged, each with its error.
        multiples: multiples of channels that were timed, each with its share of the original's.
    """

    kept: Kept
    price: float | None = None
    exceeded: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    tried: tuple[tuple[float, float], ...] = ()
    tilts: tuple[tuple[Tilt, float], ...] = ()
    multiples: Mapping[int, float] = field(default_factory=dict)


def by_ratio(
    groups: tuple[Group, ...], scores: Scores, ratio: float, constraints: Constraints
) -> Choice:
    """Remove the share `ratio` of every group, whatever the limits say: the user has asked."""
    kept = uniform(groups, scores, ratio, replace(constraints, limits={}))
    return Choice(kept, exceeded=exceeded_limits(groups, kept, constraints))


def by_target(
    groups: tuple[Group, ...],
    scores: Scores,
    price: Price,
    constraints: Constraints,
    *,
    allocate: Allocation,
    steps: int = 40,
) -> Choice:
    """Meet a budget; a budget that was asked for goes before limits, which are then reported.

    Args:
        groups: what can be pruned.
        scores: the criterion's scores.
        price: decision -> cost relative to the budget (1 meets it).
        constraints: multiples, limits and protected units.
        allocate: what goes at each depth: the lowest of all units, or a share of every group.
        steps: bisection steps.

    Raises:
        NothingToPrune: the budget lies beyond what can be removed.
    """
    bound = replace(constraints, limits={})

    def meet(bound: Constraints) -> Choice:
        kept, cost = solve(
            lambda share: allocate(groups, scores, share, bound), price, 1.0, steps=steps
        )
        return refined(groups, scores, Choice(kept, cost), price, bound)

    try:
        choice = meet(bound)
    except NothingToPrune:
        if not constraints.protected:
            raise
        choice = meet(unbound(constraints))
    return replace(choice, exceeded=exceeded_limits(groups, choice.kept, constraints))


def refined(
    groups: tuple[Group, ...],
    scores: Scores,
    choice: Choice,
    price: Price,
    constraints: Constraints,
) -> Choice:
    """Give units back, the best of each group in turn, as long as the budget holds."""
    kept, cost = dict(choice.kept), choice.price
    for group in sorted(groups, key=lambda g: g.units):
        removed = np.flatnonzero(~kept[group.id])
        best = removed[np.argsort(-scores[group.id][removed], kind="stable")]
        stays = kept[group.id].copy()
        stays[best[: constraints.multiple_of]] = True
        richer = {**kept, group.id: stays}
        if len(removed) and (more := price(richer)) <= 1.0:
            kept, cost = richer, more
    return replace(choice, kept=kept, price=cost)


def unbound(constraints: Constraints) -> Constraints:
    """Without limits and protection: what a budget may ask for in the end."""
    return replace(constraints, limits={}, protected={})


def by_drop(
    groups: tuple[Group, ...],
    scores: Scores,
    judge: Callable[[Kept], float],
    max_drop: float,
    constraints: Constraints,
    *,
    allocate: Allocation,
    steps: int = 9,
    confirm: Callable[[Kept], float] | None = None,
) -> Choice:
    """The deepest cut within the limits whose drop is tolerated, by bisection on the quantile.

    Args:
        groups: what can be pruned.
        scores: the criterion's scores.
        judge: decision -> its drop.
        max_drop: the tolerated drop.
        constraints: multiples, limits and protected units.
        allocate: what goes at each depth: the lowest of all units, or a share of every group.
        steps: bisection steps.
        confirm: the drop of what will be written, if `judge` only estimates it; the cut becomes
            milder until that is tolerated as well.
    """
    tried: list[tuple[float, float]] = []

    def drop(share: float) -> float:
        loss = judge(allocate(groups, scores, share, constraints))
        tried.append((share, loss))
        return loss

    low, high = 0.0, 1.0
    max_drop += ROUNDING
    if drop(1.0) <= max_drop + 1e-9:
        low = 1.0
    for _ in range(0 if low == 1.0 else steps):
        middle = (low + high) / 2
        if drop(middle) <= max_drop + 1e-9:
            low = middle
        else:
            high = middle
    while confirm is not None and low > 0.0:
        tried.append((low, confirm(allocate(groups, scores, low, constraints))))
        if tried[-1][1] <= max_drop + 1e-9:
            break
        low = low * _BACK if low > _LEAST else 0.0
    return Choice(allocate(groups, scores, low, constraints), tried=tuple(tried))


def exceeded_limits(
    groups: tuple[Group, ...], kept: Kept, constraints: Constraints
) -> dict[str, tuple[float, float]]:
    """Groups that lost more than their limit: id -> (limit, share removed)."""
    found = {}
    for group in groups:
        limit = constraints.limits.get(group.id, 1.0)
        removed = float(np.mean(~kept[group.id]))
        if removed > limit + 1e-9:
            found[group.id] = (limit, removed)
    return found
