"""Which units stay: by ratio, by target, or by the tolerated drop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from onnxslim_snacs.config import CompressConfig
from onnxslim_snacs.decide.allocation import Constraints
from onnxslim_snacs.decide.budget import budget_price, require_reachable
from onnxslim_snacs.decide.choose import Choice, Price, by_drop, by_ratio, by_target
from onnxslim_snacs.decide.drops import droppers, recoverer
from onnxslim_snacs.decide.latency import by_latency
from onnxslim_snacs.decide.multiples import fastest_multiple
from onnxslim_snacs.decide.rank import refits
from onnxslim_snacs.decide.tilt import Place, Tilt, climb, places, tilted
from onnxslim_snacs.ir.types import Group
from onnxslim_snacs.judge.judge import Judge
from onnxslim_snacs.judge.stopwatch import LatencyWatch
from onnxslim_snacs.plan.cost import CostModel
from onnxslim_snacs.plan.kept import Scores
from onnxslim_snacs.scores.criterion import ScoreContext, ScoreResult

#: Share of the multiply-accumulates at which multiples are timed where no budget says another.
HALF = 0.5


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
    ir = context.analysis.ir
    constraints = Constraints(config.multiple_of or 1, result.limits, result.protected, frozen)
    if config.ratio is not None:
        return by_ratio(ir.groups, result.scores, config.ratio, constraints)
    curved = config.allocation == "curves" and refits(config.recover, context)
    task = _Task(config, context, costs, result.scores, places(ir) if curved else {}, constraints)
    multiples: dict[int, float] = {}
    if config.multiple_of is None:
        task, multiples = _with_fastest_multiple(task, watch)
    if not config.target:
        choice = _by_drop(task, judge)
    else:
        require_reachable(costs, ir, result.scores, config.target, task.constraints)
        if "latency" in config.target:
            choice = _by_latency(task, watch)
        else:
            choice = _best_allocation(task, judge) if curved else task.choose(Tilt())
    return replace(choice, multiples=multiples)


@dataclass(frozen=True, slots=True)
class _Task:
    """What is to be decided, and from what.

    Attributes:
        config: what was asked for.
        context: the model and its data.
        costs: prices.
        scores: of the units.
        where: where each group lies, if its curve is to be corrected.
        constraints: multiples, limits and protected units.
    """

    config: CompressConfig
    context: ScoreContext
    costs: CostModel
    scores: Scores
    where: Mapping[str, Place]
    constraints: Constraints

    @property
    def groups(self) -> tuple[Group, ...]:
        return self.context.analysis.ir.groups

    @property
    def globally(self) -> bool:
        """Whether all units are ranked together."""
        return self.config.allocation != "uniform"

    def price(self, target: Mapping[str, float]) -> Price:
        return budget_price(self.costs, self.context.analysis.ir, target)

    def slopes(self, tilt: Tilt) -> Scores:
        return tilted(self.scores, self.where, tilt)

    def choose(self, tilt: Tilt) -> Choice:
        """The cut that meets the budgets which can be counted."""
        price = self.price(self.config.target)
        return by_target(
            self.groups, self.slopes(tilt), price, self.constraints, globally=self.globally
        )


def _by_drop(task: _Task, judge: Judge) -> Choice:
    drops = droppers(task.config.recover, task.context, judge, task.config.max_drop)
    return by_drop(
        task.groups,
        task.slopes(Tilt()),
        drops.attempt,
        task.config.max_drop,
        task.constraints,
        globally=task.globally,
        confirm=drops.final,
    )


def _by_latency(task: _Task, watch: LatencyWatch) -> Choice:
    return by_latency(
        task.groups,
        task.slopes(Tilt()),
        watch.share,
        task.config.target["latency"],
        task.price(task.config.target),
        task.constraints,
        globally=task.globally,
        confirm=watch.long_share,
    )


def _with_fastest_multiple(task: _Task, watch: LatencyWatch) -> tuple[_Task, dict[int, float]]:
    """The same task with the multiple that this machine runs fastest at about its budget."""
    counted = {k: v for k, v in task.config.target.items() if k != "latency"}
    budget = counted or {"macs": task.config.target.get("latency", HALF)}
    step, times = fastest_multiple(
        task.groups,
        task.slopes(Tilt()),
        task.price(budget),
        task.constraints,
        watch.share,
        globally=task.globally,
    )
    return replace(task, constraints=replace(task.constraints, multiple_of=step)), times


def _best_allocation(task: _Task, judge: Judge) -> Choice:
    """Judge a few allocations after recovery, and take the best."""
    config, context = task.config, task.context
    recover = recoverer(config.recover, context, judge)
    known: dict[bytes, float] = {}
    judged = 0

    def error(tilt: Tilt) -> float:
        nonlocal judged
        context.progress("allocations", judged, config.tries)
        judged += 1
        kept = task.choose(tilt).kept
        cut = b"".join(kept[name].tobytes() for name in sorted(kept))
        if cut not in known:
            known[cut] = recover(kept).drift.rel_error
        return known[cut]

    best, tried = climb(error, config.tries, Tilt())
    context.progress("allocations", config.tries, config.tries)
    return replace(task.choose(best), tilts=tried)
