"""Budgets: what a decision costs beside what it may cost, and what can be reached at all."""

from __future__ import annotations

from collections.abc import Mapping

from onnxslim_snacs.decide.allocation import Constraints, uniform
from onnxslim_snacs.decide.choose import Price, unbound
from onnxslim_snacs.errors import NothingToPrune
from onnxslim_snacs.ir.build import DependencyGraph
from onnxslim_snacs.ir.keep import KeepMap, kept_extents
from onnxslim_snacs.plan.cost import COSTS, CostModel
from onnxslim_snacs.plan.kept import Kept, Scores


def shares(costs: CostModel, ir: DependencyGraph, kept: Kept) -> dict[str, float]:
    """What a decision leaves of each cost, as a share of the original."""
    whole, keep = KeepMap({}), kept_extents(ir, kept)
    return {name: costs.of(name, keep) / max(1, costs.of(name, whole)) for name in COSTS}


def scaled_budget(
    target: Mapping[str, float], whole: CostModel, left: CostModel
) -> dict[str, float]:
    """Budgets of a whole model as shares of what is left of it; 1 where that is within them.

    Measured time stays a share of the whole model's.
    """
    before, after = whole.cost(KeepMap({})), left.cost(KeepMap({}))
    scale = {
        name: getattr(before, name) / max(1, getattr(after, name))
        for name in target
        if name != "latency"
    }
    return {name: min(1.0, share * scale.get(name, 1.0)) for name, share in target.items()}


def budget_price(costs: CostModel, ir: DependencyGraph, target: Mapping[str, float]) -> Price:
    """Decision -> its cost relative to the tightest of the budgets; 1 meets them all."""
    wanted = {name: share for name, share in target.items() if name != "latency"}
    before = {name: max(1, costs.of(name, KeepMap({}))) for name in wanted}

    def price(kept: Kept) -> float:
        keep = kept_extents(ir, kept)
        left = (costs.of(name, keep) / before[name] / share for name, share in wanted.items())
        return max(left, default=0.0)

    return price


def require_reachable(
    costs: CostModel,
    ir: DependencyGraph,
    scores: Scores,
    target: Mapping[str, float],
    constraints: Constraints,
) -> None:
    """Make sure that the deepest cut that is allowed meets every budget.

    Args:
        costs: what units cost.
        ir: the groups.
        scores: group id -> (units,), of which the lowest go first.
        target: params, macs, bytes -> share to keep.
        constraints: multiples, limits and protected units.

    Raises:
        NothingToPrune: it does not; the message says how far down one can go.
    """
    whole = costs.cost(KeepMap({}))
    for name in target:
        if name != "latency" and not getattr(whole, name):
            raise NothingToPrune(f"--target {name}: there are no {name} to count in this model")
    deepest = uniform(ir.groups, scores, 1.0, unbound(constraints))
    least = shares(costs, ir, deepest)
    beyond = {name: share for name, share in target.items() if least.get(name, 0.0) > share}
    if not beyond:
        return
    asked = " and ".join(f"{name}={share:g}" for name, share in beyond.items())
    can = ", ".join(f"{name}={_above(least[name])}" for name in beyond)
    raise NothingToPrune(
        f"--target {asked} cannot be met: with everything removed that may go, {can} is left"
    )


def _above(share: float) -> str:
    """A share rounded up, so that asking for what is printed succeeds."""
    return f"{-(-share // 1e-4) * 1e-4:.4f}"
