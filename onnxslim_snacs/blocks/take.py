"""How many blocks go, and what is left for channels to save.

A budget is met by blocks and channels together: for several numbers of blocks, in their order, the
rest of the budget is taken from channels, both are re-fitted from few rows, and what leaves the
outputs nearest to the original's wins.  No block at all is one of the candidates.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice
from math import inf
from typing import TypeVar

import numpy as np

from onnxslim_snacs.activations.samples import Samples
from onnxslim_snacs.blocks.left import blocks_of, without_blocks
from onnxslim_snacs.blocks.order import blocks_in_order
from onnxslim_snacs.config import CompressConfig, Drop, Ratio
from onnxslim_snacs.decide.budget import scaled_budget
from onnxslim_snacs.decide.decide import decide
from onnxslim_snacs.decide.drops import comparer, droppers
from onnxslim_snacs.decide.rank import score_context
from onnxslim_snacs.errors import NothingToPrune, UsageError
from onnxslim_snacs.ir.build import DependencyGraph
from onnxslim_snacs.ir.keep import keep_map
from onnxslim_snacs.ir.types import Axis, Group
from onnxslim_snacs.judge.judge import Judge
from onnxslim_snacs.judge.stopwatch import LatencyWatch
from onnxslim_snacs.layers.branches import Branch
from onnxslim_snacs.passes.prune import prune
from onnxslim_snacs.plan.kept import Kept
from onnxslim_snacs.plan.work import Work
from onnxslim_snacs.scores.criterion import ScoreResult

#: Shares of the most blocks that could go which are tried, and how often the steps are halved.
_SHARES, _HALVINGS = (0.0, 0.25, 0.5, 0.75, 1.0), 1
#: Share of the tolerated drop that blocks may use up: channels take the rest.
_HALF = 0.5

T = TypeVar("T")


@dataclass(frozen=True)
class Taken:
    """A model without some of its blocks, ready for the decision on channels.

    Attributes:
        work: what is left; the whole model if no block goes.
        config: what is left to ask of channels: a budget is one of what is left.
        scores: of the units that are left.
        frozen: groups of those that the user protects.
        found: how many blocks could go.
        tried: (blocks that go, error of the outputs) of what was compared.
    """

    work: Work
    config: CompressConfig
    scores: ScoreResult
    frozen: frozenset[str]
    found: int
    tried: Mapping[int, float] = field(default_factory=dict)

    @cached_property
    def dropped(self) -> tuple[Branch, ...]:
        """The blocks that go."""
        return () if self.work.reduced is None else self.work.reduced.dropped


def take_blocks(
    work: Work,
    config: CompressConfig,
    samples: Samples,
    scores: ScoreResult,
    judge: Judge,
    frozen: frozenset[str],
) -> Taken:
    """Settle which blocks go.

    Args:
        work: the whole model.
        config: what was asked for.
        samples: to look at, and to judge by.
        scores: of the whole model's units.
        judge: compares with the original.
        frozen: groups that the user protects.

    Raises:
        NothingToPrune: the budget cannot be met.
        UsageError: more blocks are to go than there are.
    """
    branches = blocks_of(work.ready, work.analysis)
    plain = [branch for branch in branches if not branch.parts]
    if (config.drop or 0) > len(plain):
        raise UsageError(f"--drop {config.drop}: the model has {len(plain)} blocks")
    if not plain:
        return Taken(work, config, scores, frozen, 0)
    order = blocks_in_order(work, config, branches, samples, judge)
    task = _Taking(
        work=work,
        config=config,
        samples=samples,
        scores=scores,
        judge=judge,
        frozen=frozen,
        found=len(plain),
    )
    goal = config.goal
    if config.drop is not None:
        return task.without(_first(order, config.drop))
    if isinstance(goal, Ratio):
        return task.without(_first(order, round(goal.share * len(plain))))
    if isinstance(goal, Drop):
        return task.without(_tolerated(task, order, goal.most))
    return _cheapest(task, order)


def _first(order: Iterator[Branch], count: int) -> list[Branch]:
    """The first blocks in their order, of which those of several parts count as these."""
    found: dict[str, Branch] = {}
    for branch in order:
        if len(found) >= count:
            break
        found.update((part.name, part) for part in branch.parts or (branch,))
    return list(found.values())[:count]


@dataclass(frozen=True, slots=True)
class _Taking:
    """What is to be settled, and from what; see `take_blocks`."""

    work: Work
    config: CompressConfig
    samples: Samples
    scores: ScoreResult
    judge: Judge
    frozen: frozenset[str]
    found: int

    def without(self, branches: Sequence[Branch]) -> Taken:
        """The model without some of its blocks."""
        config = self.config
        left = without_blocks(self.work, branches, allow_inexact=config.loosens_norms)
        names = left_groups(self.work.analysis.ir, left.analysis.ir)
        scores = replace(
            self.scores,
            scores={new: self.scores.scores[old] for new, old in names.items()},
            limits=_renamed(self.scores.limits, names),
            protected=_renamed(self.scores.protected, names),
        )
        frozen = frozenset(new for new, old in names.items() if old in self.frozen)
        target = scaled_budget(config.target, self.work.costs, left.costs)
        return Taken(left, replace(config, target=target), scores, frozen, self.found)

    def met(self, taken: Taken) -> bool:
        """Whether blocks alone meet the budget."""
        counted = {n: s for n, s in taken.config.target.items() if n != "latency"}
        if any(share < 1.0 for share in counted.values()):
            return False
        share = taken.config.target.get("latency")
        if share is None:
            return True
        watch = LatencyWatch(
            self.work.analysis, self.samples.judging, self.work.session, self.work.graph
        )
        return watch.measure(taken.work.ready.proto, seconds=0.5).ratio <= share

    def error(self, taken: Taken) -> float:
        """How far the outputs are from the original's with channels cut as well; inf: no cut."""
        left = taken.work
        try:
            kept = self.kept(taken)
        except NothingToPrune:
            return inf
        if self.config.recover == "none" or self.samples.scoring.is_random:
            model = prune(left.analysis, keep_map(left.analysis.ir, kept))
            return self.judge.drift(model).rel_error
        context = score_context(left, self.samples.scoring)
        return comparer(context, self.judge, left.aims)([kept])[0]

    def kept(self, taken: Taken) -> Kept:
        """What goes of channels, by the scores of the whole model."""
        return decide(taken.work, taken.config, self.samples, taken.scores, None, taken.frozen).kept


def _tolerated(task: _Taking, order: Iterator[Branch], most: float) -> list[Branch]:
    """Blocks as long as they use up no more than half of the tolerated drop."""
    gone: list[Branch] = []
    for branch in order:
        left = without_blocks(task.work, [*gone, branch])
        context = score_context(left, task.samples.scoring)
        drops = droppers(task.config.recover, context, task.judge, most, left.aims)
        if drops.attempt({}) > _HALF * most:
            break
        gone.append(branch)
    return gone


def _cheapest(task: _Taking, order: Iterator[Branch]) -> Taken:
    """The number of blocks with which the budget costs least."""
    gone: list[Branch] = []
    takens = [task.without(())]
    for branch in islice(order, task.found):
        if task.met(takens[-1]):
            break
        gone.append(branch)
        takens.append(task.without(gone))
    most, errors = len(takens) - 1, dict[int, float]()

    def judged(counts: set[int]) -> None:
        for count in sorted(counts - set(errors)):
            task.work.progress("blocks and channels", len(errors), 2 * len(_SHARES))
            errors[count] = task.error(takens[count])

    judged({round(share * most) for share in _SHARES})
    step = most / (len(_SHARES) - 1)
    for _ in range(_HALVINGS):
        step /= 2
        best = min(errors, key=lambda k: errors[k])
        judged({round(np.clip(best + way * step, 0, most)) for way in (-1, 1)})
    best = min(errors, key=lambda k: errors[k])
    if errors[best] == inf:
        task.kept(takens[0])  # says why the budget cannot be met
        raise NothingToPrune("--blocks: the budget cannot be met, with whatever blocks go")
    return replace(takens[best], tried=errors)


def left_groups(whole: DependencyGraph, left: DependencyGraph) -> dict[str, str]:
    """Group of what is left -> the group of the whole model that it was, with the same units.

    Names may differ, for they are those of tensors that may have gone.
    """
    lies: dict[Axis, list[Group]] = {}
    for group in whole.groups:
        for member in group.members:
            lies.setdefault(member.axis, []).append(group)
    found = {}
    for group in left.groups:
        for member in group.members:
            was = next(
                (g for g in lies.get(member.axis, ()) if _alike(g, group, member.axis)), None
            )
            if was is not None:
                found[group.id] = was.id
                break
    return found


def _alike(a: Group, b: Group, axis: Axis) -> bool:
    """Whether two groups have the same units on an axis."""
    first, second = (next(m.index for m in g.members if m.axis == axis) for g in (a, b))
    return np.array_equal(first, second)


def _renamed(values: Mapping[str, T], names: Mapping[str, str]) -> dict[str, T]:
    return {new: values[old] for new, old in names.items() if old in values}
