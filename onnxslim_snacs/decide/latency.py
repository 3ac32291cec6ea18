"""A budget in time: every price is a measurement of a model that was really cut."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from onnxslim_snacs.decide.allocation import Allocation, Constraints, solve
from onnxslim_snacs.decide.choose import Choice, Price, by_target, exceeded_limits, unbound
from onnxslim_snacs.errors import NothingToPrune
from onnxslim_snacs.ir.types import Group
from onnxslim_snacs.plan.kept import Kept, Scores

#: Depths at which a found cut is followed further.
_FINE = 96

#: Decision -> measured time as a share of the original's.
Stopwatch = Callable[[Kept], float]


def by_latency(
    groups: tuple[Group, ...],
    scores: Scores,
    stopwatch: Stopwatch,
    share: float,
    price: Price,
    constraints: Constraints,
    *,
    allocate: Allocation,
    steps: int = 9,
    confirm: Stopwatch | None = None,
) -> Choice:
    """The mildest cut whose measured time and other costs are within their budgets.

    Args:
        groups: what can be pruned.
        scores: the criterion's scores.
        stopwatch: measures a decision.
        share: share of the original's time to keep.
        price: decision -> cost relative to the other budgets (1 meets them).
        constraints: multiples, limits and protected units.
        allocate: what goes at each depth: the lowest of all units, or a share of every group.
        steps: bisection steps, a measurement each.
        confirm: measures a decision for longer: of several short measurements the search prefers
            the lucky ones, so that its result is cut deeper, a little at a time, until it holds.

    Raises:
        NothingToPrune: the time lies beyond what can be reached.
    """
    start = by_target(groups, scores, price, constraints, allocate=allocate)
    slow = confirm or stopwatch
    if start.price and slow(start.kept) <= share:  # the other budgets have seen to it
        return start
    fastest: list[float] = []

    def meet(bound: Constraints) -> tuple[Kept, float]:
        return solve(lambda depth: allocate(groups, scores, depth, bound), cost, 1.0, steps=steps)

    def cost(kept: Kept) -> float:
        others = price(kept)
        if others > 1.0:
            return others
        if all(stays.all() for stays in kept.values()):  # the original, whatever a clock says
            return max(others, 1.0 / share)
        fastest.append(stopwatch(kept))
        return max(others, fastest[-1] / share)

    for bound in (replace(constraints, limits={}), unbound(constraints)):
        try:
            kept, reached = meet(bound)
        except NothingToPrune:
            continue
        if confirm is not None:
            deeper = (allocate(groups, scores, k / _FINE, bound) for k in range(1, _FINE + 1))
            kept, reached = confirmed(kept, reached, deeper, price, confirm, share)
        return Choice(kept, reached, exceeded_limits(groups, kept, constraints))
    raise NothingToPrune(
        f"--target latency={share:g} cannot be met: with everything removed that may go, the "
        f"model still takes {min(fastest):.2f} of the original's time on this machine"
    )


def confirmed(
    found: Kept,
    reached: float,
    deeper: Iterable[Kept],
    price: Price,
    confirm: Stopwatch,
    share: float,
) -> tuple[Kept, float]:
    """The first cut, from the one found on, whose longer measurement is within the budget.

    Args:
        found: what the search has found.
        reached: its price in the search.
        deeper: cuts in ascending depth; those that keep no less than `found` are passed over.
        price: decision -> cost relative to the other budgets.
        confirm: measures a decision for longer.
        share: share of the original's time to keep.

    Returns:
        (decision, its price); what was found where nothing holds.
    """
    size = _units(found)
    kept = found
    for cut in (found, *(c for c in deeper if _units(c) < size)):
        if cut is not found and _units(cut) == _units(kept):
            continue
        kept = cut
        time = confirm(kept)
        if time <= share:
            return kept, max(price(kept), time / share)
    return found, reached


def _units(kept: Kept) -> int:
    return sum(int(stays.sum()) for stays in kept.values())


def require_faster(ratio: float) -> None:
    """Make sure that a model which was cut for its speed is faster.

    Args:
        ratio: its measured time as a share of the original's.

    Raises:
        NothingToPrune: it is not.
    """
    if ratio >= 1.0:
        raise NothingToPrune(
            f"the cut model takes {ratio:.2f} of the original's time on this machine: it is not "
            "faster; --allow-slower writes it all the same"
        )
