"""Which units stay: by ratio, by target, or by the tolerated drop."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from onnxslim_snacs.activations.samples import Samples
from onnxslim_snacs.config import Budget, CompressConfig, Drop, Goal, Ratio
from onnxslim_snacs.decide.allocation import Allocation, Constraints, by_quantile, staggered
from onnxslim_snacs.decide.budget import budget_price, require_reachable
from onnxslim_snacs.decide.choose import Choice, Price, by_drop, by_ratio, by_target
from onnxslim_snacs.decide.drops import comparer, droppers
from onnxslim_snacs.decide.latency import by_latency
from onnxslim_snacs.decide.multiples import fastest_multiple
from onnxslim_snacs.decide.rank import refits, score_context
from onnxslim_snacs.decide.tilt import Place, Tilt, climb, places, tilted
from onnxslim_snacs.errors import InternalError, NothingToPrune
from onnxslim_snacs.ir.keep import KeepMap, keep_map
from onnxslim_snacs.ir.types import Group
from onnxslim_snacs.judge.judge import Judge
from onnxslim_snacs.judge.stopwatch import LatencyWatch
from onnxslim_snacs.layers.aims import Aims
from onnxslim_snacs.plan.cost import CostModel
from onnxslim_snacs.plan.kept import Kept, Scores
from onnxslim_snacs.plan.work import Work
from onnxslim_snacs.scores.criterion import ScoreContext, ScoreResult

#: Share of the multiply-accumulates at which multiples are timed where no budget says another.
HALF = 0.5
#: Depths that the automatic decision tries as a rule.
DEPTHS = 12


@dataclass(frozen=True, slots=True)
class Decision:
    """Which units stay, and why.

    Attributes:
        kept: group id -> (units,) whether each unit stays.
        keep: the same as slots of every axis.
        why: how the decision came about.
    """

    kept: Kept
    keep: KeepMap
    why: Choice


def decide(
    work: Work,
    config: CompressConfig,
    samples: Samples,
    scores: ScoreResult,
    judge: Judge | None,
    frozen: frozenset[str],
) -> Decision:
    """Which units stay.

    Args:
        work: the model.
        config: what was asked for.
        samples: to recover with and to judge by.
        scores: scores of the units, limits and protected units.
        judge: compares cut models with the original; None if they cannot be run.
        frozen: groups that the user protects altogether.
    """
    if not work.analysis.ir.groups:
        return _only_blocks(config.goal)
    constraints = Constraints(config.multiple_of or 1, scores.limits, scores.protected, frozen)
    if isinstance(config.goal, Ratio):
        choice = by_ratio(work.analysis.ir.groups, scores.scores, config.goal.share, constraints)
    else:
        choice = _by_goal(work, config, samples, scores, judge, constraints)
    return Decision(choice.kept, keep_map(work.analysis.ir, choice.kept), choice)


def _only_blocks(goal: Goal) -> Decision:
    """Nothing more, where no channel can go: blocks have to have met the budget.

    Raises:
        NothingToPrune: they have not.
    """
    if isinstance(goal, Budget) and any(share < 1.0 for share in goal.counted.values()):
        raise NothingToPrune("no channel of this model can go, and blocks alone do not suffice")
    return Decision({}, KeepMap({}), Choice({}))


def _by_goal(
    work: Work,
    config: CompressConfig,
    samples: Samples,
    scores: ScoreResult,
    judge: Judge | None,
    constraints: Constraints,
) -> Choice:
    context = score_context(work, samples.scoring)
    curved = config.measures_curves and refits(config.recover, context)
    where = places(work.analysis.ir) if curved else {}
    task = _Task(config, context, work.costs, scores.scores, where, constraints, work.aims)
    watch = LatencyWatch(work.analysis, samples.judging, work.session, work.graph)
    multiples: dict[int, float] = {}
    if config.multiple_of is None:
        task, multiples = _with_fastest_multiple(task, watch)
    if isinstance(config.goal, Drop):
        choice = _by_drop(task, judge, config.goal.most)
    else:
        choice = _by_budget(task, judge if curved else None, watch)
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
        aims: what recovery aims at, if not at the model itself: some of its blocks are gone.
    """

    config: CompressConfig
    context: ScoreContext
    costs: CostModel
    scores: Scores
    where: Mapping[str, Place]
    constraints: Constraints
    aims: Aims | None = None

    @property
    def groups(self) -> tuple[Group, ...]:
        return self.context.analysis.ir.groups

    @property
    def allocate(self) -> Allocation:
        """What goes at each depth of the cut."""
        return staggered if self.config.allocation == "uniform" else by_quantile

    def price(self, target: Mapping[str, float]) -> Price:
        return budget_price(self.costs, self.context.analysis.ir, target)

    def slopes(self, tilt: Tilt) -> Scores:
        return tilted(self.scores, self.where, tilt)

    def choose(self, target: Mapping[str, float], tilt: Tilt) -> Choice:
        """The cut that meets the budgets which can be counted."""
        price = self.price(target)
        return by_target(
            self.groups, self.slopes(tilt), price, self.constraints, allocate=self.allocate
        )


def _by_drop(task: _Task, judge: Judge | None, most: float) -> Choice:
    if judge is None:
        raise InternalError("a drop can only be measured on a model that can be run")
    drops = droppers(task.config.recover, task.context, judge, most, task.aims)
    tried = itertools.count()

    def attempt(kept: Kept) -> float:
        task.context.progress("depths", min(next(tried), DEPTHS - 1), DEPTHS)
        return drops.attempt(kept)

    return by_drop(
        task.groups,
        task.slopes(Tilt()),
        attempt,
        most,
        task.constraints,
        allocate=task.allocate,
        confirm=drops.final,
    )


def _by_budget(task: _Task, judge: Judge | None, watch: LatencyWatch) -> Choice:
    """Meet the budgets; allocations are compared where there is a judge."""
    target = _shares(task.config.goal)
    require_reachable(task.costs, task.context.analysis.ir, task.scores, target, task.constraints)
    if "latency" in target:
        return _by_latency(task, target, watch)
    return task.choose(target, Tilt()) if judge is None else _best_allocation(task, target, judge)


def _by_latency(task: _Task, target: Mapping[str, float], watch: LatencyWatch) -> Choice:
    if task.aims is not None:
        whole: Kept = {g.id: np.ones(g.units, dtype=bool) for g in task.groups}
        if task.price(target)(whole) <= 1.0 and watch.long_share(whole) <= target["latency"]:
            return Choice(whole, 1.0)  # the blocks that went have seen to it
    return by_latency(
        task.groups,
        task.slopes(Tilt()),
        watch.share,
        target["latency"],
        task.price(target),
        task.constraints,
        allocate=task.allocate,
        confirm=watch.long_share,
    )


def _with_fastest_multiple(task: _Task, watch: LatencyWatch) -> tuple[_Task, dict[int, float]]:
    """The same task with the multiple that this machine runs fastest at about its budget."""
    target = _shares(task.config.goal)
    counted = {name: share for name, share in target.items() if name != "latency"}
    budget = counted or {"macs": target.get("latency", HALF)}
    step, times = fastest_multiple(
        task.groups,
        task.slopes(Tilt()),
        task.price(budget),
        task.constraints,
        watch.share,
        allocate=task.allocate,
    )
    return replace(task, constraints=replace(task.constraints, multiple_of=step)), times


def _shares(goal: Goal) -> Mapping[str, float]:
    return goal.shares if isinstance(goal, Budget) else {}


def _best_allocation(task: _Task, target: Mapping[str, float], judge: Judge) -> Choice:
    """Judge a few allocations after recovery, and take the best."""
    config, context = task.config, task.context
    compare = comparer(context, judge, task.aims)
    known: dict[bytes, float] = {}
    choices: dict[Tilt, Choice] = {}
    judged = 0

    def errors(tilts: Sequence[Tilt]) -> list[float]:
        nonlocal judged
        context.progress("allocations", judged, config.tries)
        judged += len(tilts)
        choices.update({tilt: task.choose(target, tilt) for tilt in tilts})
        cuts = [choices[tilt].kept for tilt in tilts]
        names = [b"".join(kept[name].tobytes() for name in sorted(kept)) for kept in cuts]
        new = {name: kept for name, kept in zip(names, cuts, strict=True) if name not in known}
        known.update(zip(new, compare(list(new.values())), strict=True))
        return [known[name] for name in names]

    best, tried = climb(errors, config.tries, Tilt())
    context.progress("allocations", config.tries, config.tries)
    choice = choices[best] if best in choices else task.choose(target, best)
    return replace(choice, tilts=tried)
