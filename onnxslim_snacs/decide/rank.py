"""From a criterion to scores that compare across groups, with what recovery will repair in view."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from onnxslim_snacs.config import CompressConfig
from onnxslim_snacs.decide.refitted import refitted_curves
from onnxslim_snacs.decide.slopes import by_curves, raw_curves
from onnxslim_snacs.layers.consumers import Consumers
from onnxslim_snacs.plan.cost import CostModel
from onnxslim_snacs.progress import Clock
from onnxslim_snacs.scores.criterion import Criterion, ScoreContext, ScoreResult
from onnxslim_snacs.scores.refit import group_costs, moments_for

#: Weight of the cost after a re-fit beside the criterion's own order.
REFIT_WEIGHT = 2.0


def rank_units(
    config: CompressConfig,
    criterion: Criterion,
    context: ScoreContext,
    costs: CostModel,
    clock: Clock,
) -> ScoreResult:
    """Score all units, and measure how much of the cut each group bears.

    Args:
        config: what was asked for.
        criterion: what orders the units of a group.
        context: the model and its data.
        costs: prices.
        clock: notes how long each stage took.
    """
    curved = config.ratio is None and config.allocation == "curves"
    # ranks compare within a group only: where scores decide between groups, they stay as they are
    joins = criterion.joins_refit and config.allocation != "scores"
    consumers: Consumers | None = None
    with clock.stage("score"):
        result = criterion.score(context)
        if refits(config.recover, context) and (curved or joins):
            consumers = moments_for(context)
            if joins:
                result = joined_with_refit(context, result, consumers)
    if not curved:
        return result
    with clock.stage("allocate"):
        curves_of = raw_curves if consumers is None else partial(refitted_curves, consumers)
        return by_curves(context, costs, result, budget_of(config), curves_of)


def refits(asked: str, context: ScoreContext) -> bool:
    """Whether recovery will re-fit the layers behind a cut: "auto" does not on random inputs."""
    if not context.analysis.facts.ran:
        return False
    return asked == "least-squares" or (asked == "auto" and not context.source.is_random)


def budget_of(config: CompressConfig) -> str:
    """The cost that a cut is to save: what the target names first, else multiply-accumulates."""
    return next((name for name in config.target if name != "latency"), "macs")


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
    notes = {**result.notes, "joined with the costs after a re-fit": sorted(costs)}
    return replace(result, scores=scores, notes=notes)


def ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """(units,) positions in ascending order; equal values in the order in which they stand."""
    order = np.argsort(values, kind="stable")
    found = np.empty(len(values))
    found[order] = np.arange(len(values))
    return found
