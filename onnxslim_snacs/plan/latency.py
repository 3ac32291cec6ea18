"""A budget in time: every price is a measurement of a model that was really cut."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from onnxslim_snacs.errors import NothingToPrune
from onnxslim_snacs.ir.types import Group
from onnxslim_snacs.plan.choose import Choice, Price, by_target, exceeded_limits, unbound
from onnxslim_snacs.plan.decide import (
    Allocation,
    Constraints,
    Kept,
    Scores,
    by_quantile,
    solve,
    staggered,
)

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
    globally: bool,
    steps: int = 6,
) -> Choice:
    """The mildest cut whose measured time and other costs are within their budgets.

    Args:
        groups: what can be pruned.
        scores: the criterion's scores.
        stopwatch: measures a decision.
        share: share of the original's time to keep.
        price: decision -> cost relative to the other budgets (1 meets them).
        constraints: multiples, limits and protected units.
        globally: rank all units together instead of taking one share of every group.
        steps: bisection steps, a measurement each.

    Raises:
        NothingToPrune: the time lies beyond what can be reached.
    """
    start = by_target(groups, scores, price, constraints, globally=globally)
    if start.price and stopwatch(start.kept) <= share:  # the other budgets have seen to it
        return start
    allocation: Allocation = by_quantile if globally else staggered
    fastest: list[float] = []

    def meet(bound: Constraints) -> tuple[Kept, float]:
        return solve(lambda depth: allocation(groups, scores, depth, bound), cost, 1.0, steps=steps)

    def cost(kept: Kept) -> float:
        others = price(kept)
        if others > 1.0:
            return others
        fastest.append(stopwatch(kept))
        return max(others, fastest[-1] / share)

    for bound in (replace(constraints, limits={}), unbound(constraints)):
        try:
            kept, reached = meet(bound)
        except NothingToPrune:
            continue
        return Choice(kept, reached, exceeded_limits(groups, kept, constraints))
    raise NothingToPrune(
        f"--target latency={share:g} cannot be met: with everything removed that may go, the "
        f"model still takes {min(fastest):.2f} of the original's time on this machine"
    )


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
