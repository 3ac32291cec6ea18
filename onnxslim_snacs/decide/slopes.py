"""How much of the cut each group bears.

"curves" measures what cutting each group alone does to the model's output and ranks all units by
the rise of that error per cost saved; "uniform" takes the same share of every group; "scores" ranks
all units by the criterion's own numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from onnxslim_snacs.activations.in_common import Common
from onnxslim_snacs.activations.run import batch_size
from onnxslim_snacs.activations.sources import CalibrationSource
from onnxslim_snacs.decide.curves import Curve, calibrated, measure_curves
from onnxslim_snacs.ir.keep import KeepMap, kept_extents
from onnxslim_snacs.ir.types import Group
from onnxslim_snacs.judge.error import Ask, Question, answering, error_judge
from onnxslim_snacs.model.session import SessionConfig
from onnxslim_snacs.ops.analyse import Analysis
from onnxslim_snacs.plan.cost import CostModel
from onnxslim_snacs.plan.kept import Scores
from onnxslim_snacs.scores.criterion import ScoreContext, ScoreResult

#: Samples on which curves are measured: least and most.  On ResNet-20 the cuts chosen with 8 were
#: after recovery as good as with 32 (agreement on unseen images at MACs 0.5: 93.0 against 92.5 per
#: cent, mean of two seeds; with 4: 91.9).
SAMPLES = (8, 32)
#: Where the notes of scores hold the curves of their groups.
CURVES = "error curves"
#: Multiply-accumulates that one point of a curve may take.
WORK = 1 << 32


def curve_samples(macs: int) -> int:
    """On how many samples to measure curves: fewer where one takes `macs` multiply-accumulates."""
    least, most = SAMPLES
    return max(least, min(most, WORK // max(1, macs)))


def raw_curves(
    context: ScoreContext, ask: Ask, groups: Sequence[Group], scores: Scores
) -> dict[str, Curve]:
    """Curves of the cut without recovery: every group alone at a few widths, end to end."""
    return measure_curves(
        groups,
        scores,
        ask,
        lambda done, total: context.progress("error curves", done, total),
    )


#: Groups and their scores, and who asks a judge of errors -> what cutting each group alone costs.
CurvesOf = Callable[[ScoreContext, Ask, Sequence[Group], Scores], Mapping[str, Curve]]


def by_curves(
    context: ScoreContext,
    costs: CostModel,
    result: ScoreResult,
    budget: str,
    curves_of: CurvesOf = raw_curves,
) -> ScoreResult:
    """Replace scores by slopes of measured error curves, which compare across groups.

    Args:
        context: the model and its data.
        costs: prices.
        result: the criterion's scores; the order within each group stays theirs.
        budget: which cost is to be saved: params, macs or bytes.
        curves_of: where the curves come from.

    Returns:
        The same result with comparable scores, and the curves among its notes.
    """
    groups = [g for g in context.analysis.ir.groups if g.units > 1]
    few = context.source.part(0, curve_samples(costs.cost(KeepMap({})).macs))
    size = batch_size(context.analysis.facts, few, context.analysis.graph.outputs)
    curves = curves_of(context, _ask(context, few, size), groups, result.scores)
    saved = savings(context.analysis, costs, groups, budget)
    slopes = calibrated(groups, result.scores, curves, saved)
    notes = {**result.notes, CURVES: curves}
    return replace(result, scores={**result.scores, **slopes}, notes=notes)


@dataclass(frozen=True, slots=True)
class Few:
    """The first of the samples to decide by.

    Attributes:
        samples: how many.
        size: of them in a run.
    """

    samples: int
    size: int


def open_judge_of_few(common: Common, few: Few) -> Callable[[Question], Any]:
    """What answers questions in a process that shares them with others."""
    source = common.samples.scoring.part(0, few.samples)
    return _answers(common.analysis, source, common.session, few.size)


def _answers(
    analysis: Analysis, source: CalibrationSource, session: SessionConfig, size: int
) -> Callable[[Question], Any]:
    return answering(error_judge(analysis, session, tuple(source.batches(size))))


def _ask(context: ScoreContext, few: CalibrationSource, size: int) -> Ask:
    if context.spread is not None:
        return partial(context.spread, open_judge_of_few, Few(few.samples, size))
    return partial(map, _answers(context.analysis, few, context.session, size))


def savings(
    analysis: Analysis, costs: CostModel, groups: list[Group], budget: str
) -> Mapping[str, float]:
    """Share of the cost that one unit of each group saves, averaged over half of its units.

    Args:
        analysis: the model.
        costs: what units cost.
        groups: of at least two units each.
        budget: params, macs or bytes.

    Returns:
        Group id -> share of the whole model's cost.
    """
    before = costs.of(budget, KeepMap({}))
    saved = {}
    for group in groups:
        half = group.units // 2
        stays = np.arange(group.units) >= half
        after = costs.of(budget, kept_extents(analysis.ir, {group.id: stays}))
        saved[group.id] = (before - after) / max(1, before) / half
    return saved
