"""What a decision costs after recovery, for the automatic decision and for allocations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from onnxslim_snacs.activations.in_common import Common
from onnxslim_snacs.activations.sources import CalibrationSource
from onnxslim_snacs.ir.keep import keep_map
from onnxslim_snacs.judge.judge import Judge, answers_to
from onnxslim_snacs.layers.aims import Aims
from onnxslim_snacs.model.session import SessionConfig
from onnxslim_snacs.ops.analyse import Analysis
from onnxslim_snacs.passes.prune import prune
from onnxslim_snacs.plan.kept import Kept
from onnxslim_snacs.recovery.accept import (
    Outcome,
    recover_cut,
    recovery_samples,
)
from onnxslim_snacs.recovery.effort import LIGHT, whole_effort
from onnxslim_snacs.recovery.jobs import Cut
from onnxslim_snacs.recovery.methods import least_squares_method
from onnxslim_snacs.recovery.recover import recover_among, recover_together
from onnxslim_snacs.scores.criterion import ScoreContext

#: Samples with which the attempts of the automatic decision are recovered.
ATTEMPT = 256
#: Samples with which allocations are compared: a third of what there is, within these bounds.
COMPARED = (64, 96)


@dataclass(frozen=True, slots=True)
class Droppers:
    """Decision -> what it costs on held-out samples, after the recovery that was asked for.

    Attributes:
        attempt: with few samples for recovery, for the search.
        final: with all of them, as it will be written; None where that is the same.
    """

    attempt: Callable[[Kept], float]
    final: Callable[[Kept], float] | None


def droppers(
    asked: str, context: ScoreContext, judge: Judge, max_drop: float, aims: Aims | None = None
) -> Droppers:
    """How the automatic decision judges: with a margin, so that the promise holds beyond luck.

    One standard error is added to what was counted, but never more than half of what is tolerated:
    with few samples something has to be able to go.  Answers are counted on mixed samples as well:
    the others may be those that the network was trained on.  A measure of the user's own is taken
    as it is: nothing is known of its spread.
    """

    def careful(recover: Callable[[Kept], Outcome]) -> Callable[[Kept], float]:
        def drop(kept: Kept) -> float:
            outcome = recover(kept)
            if judge.metric is not None:
                return judge.metric.beside(outcome.model, outcome.drift).drop
            drift = judge.with_blend(outcome.model, outcome.drift)
            return drift.drop + min(drift.standard_error or 0.0, max_drop / 2)

        return drop

    attempt = careful(recoverer(asked, context, judge, aims=aims))
    whole = recovery_samples(context.analysis, context.source.samples, context.spending.samples)
    if asked == "none" or whole <= ATTEMPT:
        return Droppers(attempt, None)
    return Droppers(attempt, careful(recoverer(asked, context, judge, whole, aims)))


def recoverer(
    asked: str,
    context: ScoreContext,
    judge: Judge,
    size: int = ATTEMPT,
    aims: Aims | None = None,
) -> Callable[[Kept], Outcome]:
    """Decision -> the cut model after recovery, with its distance from the original.

    Args:
        asked: auto, none, or a key of `RECOVERIES`.
        context: the model and its data.
        judge: compares with the original.
        size: samples that recovery looks at, at the most.
        aims: what the layers are to come to, if not what they are.
    """
    size = min(
        size, recovery_samples(context.analysis, context.source.samples, context.spending.samples)
    )
    samples = context.source.part(0, size)
    # a search cannot train at every step; what training recovers, least squares nearly do
    asked = "least-squares" if asked == "distil" else asked

    def recover(kept: Kept) -> Outcome:
        keep = keep_map(context.analysis.ir, kept)
        model = prune(context.analysis, keep)
        cut = Cut(
            context.analysis,
            keep,
            model,
            samples,
            context.session,
            context.seed,
            effort=whole_effort(context.spending),
            aims=aims,
        )
        return recover_cut(asked, cut, judge, judge.drift(model))

    return recover


def comparer(
    context: ScoreContext, judge: Judge, aims: Aims | None = None
) -> Callable[[Sequence[Kept]], list[float]]:
    """Decisions -> error of the outputs of each, its layers re-fitted from few rows.

    The cuts are recovered side by side, so that the original runs once for all of them; or each by
    another process, to the same bits.

    Args:
        context: the model and its data.
        judge: compares with the original.
        aims: what the layers are to come to, if not what they are.
    """
    whole = recovery_samples(context.analysis, context.source.samples, context.spending.samples)
    size = min(whole, max(COMPARED[0], min(COMPARED[1], context.source.samples // 3)))
    samples, spread = context.source.part(0, size), context.spread

    def errors(several: Sequence[Kept]) -> list[float]:
        if not several:
            return []
        if spread is not None and len(several) > 1:
            given = Comparing(size, judge.source.samples, context.seed)
            among = [Among(tuple(several), number) for number in range(len(several))]
            return list(spread(open_comparison, given, among))
        cuts = _cuts(context.analysis, several, samples, context.session, context.seed, aims)
        recovered = recover_together(cuts, least_squares_method(LIGHT))
        return [judge.drift(one.model).rel_error for one in recovered]

    return errors


@dataclass(frozen=True, slots=True)
class Comparing:
    """From what decisions are compared.

    Attributes:
        fitted: samples to re-fit with, the first of those to decide by.
        judging: samples to judge by.
        seed: for the choice of rows.
    """

    fitted: int
    judging: int
    seed: int


@dataclass(frozen=True, slots=True)
class Among:
    """A decision among those that are compared.

    Attributes:
        several: the decisions.
        number: which of them.
    """

    several: tuple[Kept, ...]
    number: int


def open_comparison(common: Common, given: Comparing) -> Callable[[Among], float]:
    """What gives the error of a decision in a process that shares them with others."""
    analysis, session = common.analysis, common.session
    samples = common.samples.scoring.part(0, given.fitted)
    judging = common.samples.judging.part(0, given.judging)
    reference = answers_to(analysis, analysis.graph.proto, judging, session)
    judge = Judge(analysis, judging, session, reference, None)

    def error(among: Among) -> float:
        cuts = _cuts(analysis, among.several, samples, session, given.seed)
        recovered = recover_among(cuts, among.number, least_squares_method(LIGHT))
        return judge.drift(recovered.model).rel_error

    return error


def _cuts(
    analysis: Analysis,
    several: Sequence[Kept],
    samples: CalibrationSource,
    session: SessionConfig,
    seed: int,
    aims: Aims | None = None,
) -> list[Cut]:
    cuts = []
    for kept in several:
        keep = keep_map(analysis.ir, kept)
        model = prune(analysis, keep)
        cuts.append(Cut(analysis, keep, model, samples, session, seed, effort=LIGHT, aims=aims))
    return cuts
