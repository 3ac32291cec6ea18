"""Training at the end of `compress`, if that was asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from onnxslim_snacs.activations.samples import Samples
from onnxslim_snacs.config import CompressConfig, FinetuneConfig
from onnxslim_snacs.judge.judge import Judge
from onnxslim_snacs.model.graph import ModelGraph
from onnxslim_snacs.plan.plan import Plan, TunedStep, model_digest
from onnxslim_snacs.plan.work import Work
from onnxslim_snacs.recovery.accept import Outcome
from onnxslim_snacs.report.make import TRAINED, tuned_report
from onnxslim_snacs.report.report import Report
from onnxslim_snacs.training.tune import Attendance, Lesson, Tuned, tune


def trained_at_the_end(
    work: Work,
    config: CompressConfig,
    samples: Samples,
    final: Outcome | None,
    heed: Callable[[], Callable[[], bool]],
) -> Tuned | None:
    """Train what is left by the original's answers; None if nothing was asked for.

    Args:
        work: the original.
        config: for how many minutes.
        samples: training sees the scoring ones.
        final: the model after recovery; None if it cannot be run.
        heed: called as training begins; what it gives is asked after each step whether to stop.
    """
    if config.finetune is None or final is None:
        return None
    lesson = Lesson(ModelGraph(final.model, work.graph.base_dir), work.graph, work.session)
    how = FinetuneConfig(
        data=config.data,
        minutes=config.finetune,
        seed=work.seed,
        threads=work.session.threads,
        provider=work.session.provider,
    )
    return tune(lesson, samples, how, Attendance(heed(), work.progress, work.clock))


def with_training(
    plan: Plan, report: Report, config: CompressConfig, judge: Judge | None, tuned: Tuned | None
) -> tuple[Plan, Report]:
    """Plan and report with what training did, if there was any."""
    if tuned is None or config.finetune is None or judge is None:
        return plan, report
    report = replace(report, tuned=tuned_report(config.finetune, tuned))
    if tuned.why:
        return plan, report
    digest = model_digest(tuned.model, judge.analysis.graph.base_dir)
    step = TunedStep(digest, config.finetune, tuned.trained.steps)
    moved = judge.with_blend(tuned.model, judge.drift(tuned.model))
    return replace(plan, tuned=step), replace(report, made=TRAINED, drift=moved)
