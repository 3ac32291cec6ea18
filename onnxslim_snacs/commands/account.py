"""What a run of `compress` did, and the plan and the report that say so."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from onnxslim_snacs.activations.sources import CalibrationSource
from onnxslim_snacs.arithmetic.current import left_on_processor
from onnxslim_snacs.blocks.take import Taken
from onnxslim_snacs.commands.blockwise import block_warnings
from onnxslim_snacs.commands.last_training import with_training
from onnxslim_snacs.commands.planned import plan_of
from onnxslim_snacs.commands.simplified import Simplified, with_simplified
from onnxslim_snacs.commands.turned import Turned, width_notes
from onnxslim_snacs.config import CompressConfig
from onnxslim_snacs.decide.decide import Decision
from onnxslim_snacs.judge.judge import Judge
from onnxslim_snacs.judge.stopwatch import Latency
from onnxslim_snacs.plan.cost import with_added
from onnxslim_snacs.plan.plan import Plan
from onnxslim_snacs.proof.outcome import ProvedCut
from onnxslim_snacs.recovery.accept import Outcome
from onnxslim_snacs.report.make import (
    asked,
    decision_notes,
    made_by,
    make_report,
    warnings_of,
    with_curves,
)
from onnxslim_snacs.report.report import DroppedReport, Report
from onnxslim_snacs.report.sentences import alarm
from onnxslim_snacs.scores.criterion import ScoreResult
from onnxslim_snacs.training.tune import Tuned


@dataclass(frozen=True, slots=True)
class Account:
    """What the stages of a run came to.

    Attributes:
        simpler: the model that onnxslim has gone over, if it was to.
        turned: the model with its streams turned, if it was to be.
        source: all samples.
        few: what there is to say of few different samples.
        judge: compares with the original; None if the model cannot be run.
        scores: of all units.
        taken: the model without the blocks that went.
        dropped: what was done to blocks, proved.
        decision: what stays.
        cut: the cut, proved.
        final: the cut after recovery; None if it cannot be run.
        latency: measured, if that was of interest.
        tuned: the model after training, if there was any.
    """

    simpler: Simplified | None
    turned: Turned | None
    source: CalibrationSource
    few: str | None
    judge: Judge | None
    scores: ScoreResult
    taken: Taken
    dropped: DroppedReport | None
    decision: Decision
    cut: ProvedCut
    final: Outcome | None
    latency: Latency | None
    tuned: Tuned | None


def plan_and_report(
    run: Account, config: CompressConfig, out: Path | str | None
) -> tuple[Plan, Report]:
    """The plan and the report of a run.

    Args:
        run: what it did.
        config: what was asked for.
        out: where the model goes, for the report.
    """
    plan = plan_of(run.taken.work, config, run.decision, run.final, run.source)
    if run.turned is not None:
        plan = replace(plan, bases=run.turned.bases)
    plan, report = with_training(plan, _cut_report(run, config, out), config, run.judge, run.tuned)
    if run.simpler is not None:
        plan = replace(plan, simplified=run.simpler.version)
    report = asked(with_curves(report, run.scores.notes), config, out)
    report = with_simplified(report, run.simpler)
    notes = {
        **report.notes,
        **width_notes(run.turned),
        **decision_notes(config, run.decision.why),
    }
    return plan, replace(
        report,
        dropped=run.dropped,
        latency=run.latency,
        notes=notes,
        warnings=_warnings(run, config, report),
    )


def _cut_report(run: Account, config: CompressConfig, out: Path | str | None) -> Report:
    """The report on what was cut and re-fitted."""
    cut, final = run.cut, run.final
    moved = None if final is None else final.drift
    report = make_report(run.taken.work, run.decision.keep, cut.proof, moved, out=out)
    report = replace(report, criterion=config.criterion)
    if final is None:
        return report
    after = with_added(report.after, cut.model, final.model)
    return replace(report, after=after, recovery=final.report, made=made_by(final.report))


def _warnings(run: Account, config: CompressConfig, report: Report) -> tuple[str, ...]:
    said = alarm(report.drift)
    return (
        *((run.few,) if run.few else ()),
        *block_warnings(run.taken, config),
        *warnings_of(run.source, run.taken.work.analysis, run.judge),
        *run.scores.warnings,
        *left_on_processor(config.arithmetic, run.taken.work.session.provider),
        *((said,) if said else ()),
    )
