"""Which units stay: by ratio, by target, or by the tolerated drop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from onnxslim_snacs.config import CompressConfig
from onnxslim_snacs.judge import Judge, LatencyWatch
from onnxslim_snacs.plan.budget import budget_price, require_reachable
from onnxslim_snacs.plan.choose import Choice, by_drop, by_ratio, by_target
from onnxslim_snacs.plan.cost import CostModel
from onnxslim_snacs.plan.decide import Constraints
from onnxslim_snacs.plan.latency import by_latency
from onnxslim_snacs.plan.tilt import Tilt, climb, places, tilted
from onnxslim_snacs.ranking import refits
from onnxslim_snacs.recovered import droppers, recovered_drift
from onnxslim_snacs.scores.criterion import ScoreContext, ScoreResult


def decide(
    config: CompressConfig,
    context: ScoreContext,
    costs: CostModel,
    result: ScoreResult,
    judge: Judge,
    watch: LatencyWatch,
    frozen: frozenset[str],
) -> Choice:
    """Which units stay.

    Args:
        config: what was asked for.
        context: the model and its data.
        costs: prices.
        result: scores of the units, limits and protected units.
        judge: compares cut models with the original.
        watch: times cut models.
        frozen: groups that the user protects altogether.
    """
    analysis = context.analysis
    groups = analysis.ir.groups
    constraints = Constraints(config.multiple_of, result.limits, result.protected, frozen)
    globally = config.allocation != "uniform"
    if config.ratio is not None:
        return by_ratio(groups, result.scores, config.ratio, constraints)
    scores = result.scores
    curved = config.allocation == "curves" and _refits(config, context)
    where = places(analysis.ir) if curved else {}
    if not config.target:
        drops = droppers(config.recover, context, judge)
        return by_drop(
            groups,
            tilted(scores, where, Tilt()),
            drops.attempt,
            config.max_drop,
            constraints,
            globally=globally,
            confirm=drops.final,
        )
    require_reachable(costs, analysis.ir, scores, config.target, constraints)
    price = budget_price(costs, analysis.ir, config.target)
    if "latency" in config.target:
        return by_latency(
            groups,
            tilted(scores, where, Tilt()),
            watch.share,
            config.target["latency"],
            price,
            constraints,
            globally=globally,
        )

    def choose(tilt: Tilt) -> Choice:
        slopes = tilted(scores, where, tilt)
        return by_target(groups, slopes, price, constraints, globally=globally)

    return _best_allocation(config, context, judge, choose) if curved else choose(Tilt())


def _refits(config: CompressConfig, context: ScoreContext) -> bool:
    return context.analysis.facts.ran and refits(config.recover, context.source)


def _best_allocation(
    config: CompressConfig,
    context: ScoreContext,
    judge: Judge,
    choose: Callable[[Tilt], Choice],
) -> Choice:
    """Judge a few allocations after recovery, and take the best."""
    drift_of = recovered_drift(config.recover, context, judge)
    known: dict[bytes, float] = {}
    judged = 0

    def error(tilt: Tilt) -> float:
        nonlocal judged
        context.progress("allocations", judged, config.tries)
        judged += 1
        kept = choose(tilt).kept
        cut = b"".join(kept[name].tobytes() for name in sorted(kept))
        if cut not in known:
            known[cut] = drift_of(kept).rel_error
        return known[cut]

    best, tried = climb(error, config.tries, Tilt())
    context.progress("allocations", config.tries, config.tries)
    return replace(choose(best), tilts=tried)
