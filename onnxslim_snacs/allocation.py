"""How much of the cut each group bears.

"curves" measures what cutting each group alone does to the model's output and ranks all units by
the rise of that error per cost saved; "uniform" takes the same share of every group; "scores" ranks
all units by the criterion's own numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxslim_snacs.activations.restarts import Restarts, open_restarts
from onnxslim_snacs.ir.keep import KeepMap, keep_map
from onnxslim_snacs.ir.types import Group
from onnxslim_snacs.ops.analyse import Analysis
from onnxslim_snacs.plan.cost import CostModel
from onnxslim_snacs.plan.curves import Curve, calibrated, measure_curves
from onnxslim_snacs.plan.decide import Kept, Scores
from onnxslim_snacs.scores.criterion import ScoreContext, ScoreResult

#: Samples on which curves are measured: least and most.  On ResNet-20 the cuts chosen with 8 were
#: after recovery as good as with 32 (agreement on unseen images at MACs 0.5: 93.0 against 92.5 per
#: cent, mean of two seeds; with 4: 91.9).
SAMPLES = (8, 32)
#: Multiply-accumulates that one point of a curve may take.
WORK = 10**10


@dataclass(frozen=True)
class ErrorJudge:
    """Relative squared error of the output for any decision.

    Attributes:
        analysis: the model.
        runs: the model with masks on a few samples.
        spread: squared spread of each output over the samples.
    """

    analysis: Analysis
    runs: Restarts
    spread: tuple[float, ...]

    def error(self, kept: Kept) -> float:
        """The mean over the outputs of |difference|^2 / |output - mean|^2; inf if not finite."""
        keep = keep_map(self.analysis.ir, kept)
        total = np.zeros(len(self.spread))
        for number, wanted in enumerate(self.runs.reference):
            got = self.runs.run(number, keep)
            total += [_squared(a, b) for a, b in zip(wanted, got, strict=True)]
        error = float(np.mean(total / np.array(self.spread)))
        return error if np.isfinite(error) else float("inf")


def curve_samples(macs: int) -> int:
    """On how many samples to measure curves: fewer where one takes `macs` multiply-accumulates."""
    least, most = SAMPLES
    return max(least, min(most, WORK // max(1, macs)))


def error_judge(context: ScoreContext, samples: int) -> ErrorJudge:
    """Open sessions with masks and record what the original answers to the first samples."""
    source = context.source.part(0, min(samples, context.source.samples))
    runs = open_restarts(context.analysis, context.session, tuple(source.batches()))
    spread = []
    for column in zip(*runs.reference, strict=True):
        if all(o.shape[1:] == column[0].shape[1:] for o in column):
            rows = np.concatenate([np.atleast_1d(o).astype(np.float64) for o in column])
            around = rows - rows.mean(axis=0) if len(rows) > 1 else rows
        else:
            around = np.concatenate([o.astype(np.float64).ravel() for o in column])
        spread.append(max(float(np.square(around).sum()), 1e-30))
    return ErrorJudge(context.analysis, runs, tuple(spread))


def _squared(a: NDArray[Any], b: NDArray[Any]) -> float:
    """|a - b|^2; where their extents differ (detections, for instance), all of `a` is lost."""
    if a.shape != b.shape:
        return float(np.square(a.astype(np.float64)).sum())
    difference = a.astype(np.float64) - b.astype(np.float64)
    return float(np.square(difference).sum())


def raw_curves(
    context: ScoreContext, judge: ErrorJudge, groups: Sequence[Group], scores: Scores
) -> dict[str, Curve]:
    """Curves of the cut without recovery: every group alone at a few widths, end to end."""
    return measure_curves(
        groups,
        scores,
        judge.error,
        lambda done, total: context.progress("error curves", done, total),
    )


#: Groups and their scores, with a judge of errors -> what cutting each group alone costs.
CurvesOf = Callable[[ScoreContext, ErrorJudge, Sequence[Group], Scores], Mapping[str, Curve]]


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
        The same result with comparable scores.
    """
    groups = [g for g in context.analysis.ir.groups if g.units > 1]
    judge = error_judge(context, curve_samples(costs.cost(KeepMap({})).macs))
    curves = curves_of(context, judge, groups, result.scores)
    saved = savings(context.analysis, costs, groups, budget)
    slopes = calibrated(groups, result.scores, curves, saved)
    return replace(result, scores={**result.scores, **slopes})


def savings(
    analysis: Analysis, costs: CostModel, groups: list[Group], budget: str
) -> Mapping[str, float]:
    """Share of the cost that one unit of each group saves, averaged over half of its units."""
    before = getattr(costs.cost(KeepMap({})), budget)
    saved = {}
    for group in groups:
        half = group.units // 2
        stays = np.arange(group.units) >= half
        after = getattr(costs.cost(keep_map(analysis.ir, {group.id: stays})), budget)
        saved[group.id] = (before - after) / max(1, before) / half
    return saved
