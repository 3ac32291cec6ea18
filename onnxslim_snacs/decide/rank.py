"""From a criterion to scores that compare across groups, with what recovery will repair in view."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from onnxslim_snacs.activations.sources import CalibrationSource
from onnxslim_snacs.config import Budget, CompressConfig, Goal
from onnxslim_snacs.decide.refitted import refitted_curves
from onnxslim_snacs.decide.slopes import by_curves, raw_curves
from onnxslim_snacs.layers.consumers import Consumers, gathered_consumers, gathering_for
from onnxslim_snacs.plan.work import Work
from onnxslim_snacs.scores.criterion import Criterion, ScoreContext, ScoreResult
from onnxslim_snacs.scores.magnitude import l1
from onnxslim_snacs.scores.refit import group_costs, moments_for

#: Weight of the cost after a re-fit beside the criterion's own order; our choice, of 1 and 2, by
#: the agreement of recovered ResNets with their originals.
REFIT_WEIGHT = 2.0
#: How far apart neighbours in an order lie that is not the criterion's, relative to its score.
_NUDGE = 1e-9
_JOINED = "joined with the costs after a re-fit"


#: Where the second moments of what layers read come from; several runs on one model share them.
MomentsOf = Callable[[ScoreContext], Consumers]


def rank(
    work: Work,
    config: CompressConfig,
    criterion: Criterion,
    scoring: CalibrationSource,
    moments_of: MomentsOf = moments_for,
) -> ScoreResult:
    """Score all units, and measure how much of the cut each group bears.

    Args:
        work: the model.
        config: what was asked for.
        criterion: what orders the units of a group.
        scoring: samples to score with.
        moments_of: finds the second moments of what layers read, where they are needed.
    """
    context = score_context(work, scoring)
    with work.clock.stage("score"):
        result, consumers = ordered(context, config, criterion, moments_of)
    if not config.measures_curves:
        return result
    with work.clock.stage("allocate"):
        curves_of = raw_curves if consumers is None else partial(refitted_curves, consumers)
        return by_curves(context, work.costs, result, budget_of(config.goal), curves_of)


def ordered(
    context: ScoreContext, config: CompressConfig, criterion: Criterion, moments_of: MomentsOf
) -> tuple[ScoreResult, Consumers | None]:
    """The order in which units of a group go, and the moments if recovery will re-fit by them.

    Args:
        context: the model and its data.
        config: whether recovery re-fits, and what shares the cut between groups.
        criterion: gives the scores.
        moments_of: gives second moments of what layers read; asked only if they are needed.
    """
    # ranks compare within a group only: where scores decide between groups, they stay as they are
    joins = criterion.joins_refit and config.allocation != "scores"
    needs_moments = refits(config.recover, context) and (config.measures_curves or joins)
    rider = None
    if needs_moments and moments_of is moments_for:
        samples, rows = context.source.samples, context.spending.moments
        rider = gathering_for(context.analysis, samples, context.seed, rows)
    result = criterion.score(replace(context, rider=rider))
    consumers: Consumers | None = None
    if rider is not None and rider.has_begun:
        consumers = gathered_consumers(rider)
    elif needs_moments:
        consumers = moments_of(context)
    tied = _tied(context, result)
    if consumers is not None and joins:
        result = joined_with_refit(context, result, consumers)
        tied = [name for name in tied if name not in result.notes[_JOINED]]
    if tied:
        result = _by_norms(context, criterion, result, tied)
    return result, consumers


def _by_norms(
    context: ScoreContext, criterion: Criterion, result: ScoreResult, tied: list[str]
) -> ScoreResult:
    """Groups of which all units score the same, in the order of their norms at that level."""
    norms = l1(context).scores
    told = [name for name in tied if np.ptp(norms[name]) > 0]
    blind = [name for name in tied if name not in told]
    scores = dict(result.scores)
    for name in told:
        level = float(scores[name][0])
        scores[name] = level + _NUDGE * max(1.0, abs(level)) * ranks(norms[name])
    warnings = [_same(criterion, told, "they go in the order of their norms")] if told else []
    if blind:
        warnings.append(_same(criterion, blind, "which of them go says nothing about them"))
    return replace(result, scores=scores, warnings=(*result.warnings, *warnings))


def _tied(context: ScoreContext, result: ScoreResult) -> list[str]:
    """Groups of which all units score the same."""
    groups = (group for group in context.analysis.ir.groups if group.units > 1)
    return [g.id for g in groups if np.ptp(result.scores[g.id]) == 0]


def _same(criterion: Criterion, groups: list[str], then: str) -> str:
    several = f"{len(groups)} groups ({', '.join(groups[:3])}{', ...' if groups[3:] else ''})"
    return f"criterion {criterion.name} scores all units of {several} the same: {then}"


def score_context(work: Work, source: CalibrationSource) -> ScoreContext:
    """What a criterion may look at."""
    return ScoreContext(
        work.analysis,
        source,
        work.session,
        work.seed,
        work.progress,
        work.spending,
        spread=work.spread,
    )


def refits(asked: str, context: ScoreContext) -> bool:
    """Whether recovery will re-fit the layers behind a cut: "auto" does not on random inputs."""
    if not context.analysis.facts.ran:
        return False
    named = asked in ("least-squares", "distil")
    return named or (asked == "auto" and not context.source.is_random)


def budget_of(goal: Goal) -> str:
    """The cost that a cut is to save: what the budget names first, else multiply-accumulates."""
    return next(iter(goal.counted), "macs") if isinstance(goal, Budget) else "macs"


def joined_with_refit(
    context: ScoreContext, result: ScoreResult, consumers: Consumers
) -> ScoreResult:
    """The weighted sum of two ranks: the criterion's, and that of what a unit costs after a re-fit.

    A unit may carry much information and yet be spared, because others carry the same: what it
    costs once its readers are re-fitted says so.  Groups whose readers are not known keep their
    order, limits and protected units stay the criterion's.
    """
    costs = group_costs(context, consumers)
    scores: dict[str, NDArray[np.float64]] = {
        name: ranks(values) + REFIT_WEIGHT * ranks(costs[name]) if name in costs else values
        for name, values in result.scores.items()
    }
    notes = {**result.notes, _JOINED: sorted(costs)}
    return replace(result, scores=scores, notes=notes)


def ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """(units,) positions in ascending order; equal values in the order in which they stand."""
    order = np.argsort(values, kind="stable")
    found = np.empty(len(values))
    found[order] = np.arange(len(values))
    return found
