"""Recovery by any of its names: in closed form, or by training at the ends of blocks."""

from __future__ import annotations

from onnxslim_snacs.activations.samples import Samples
from onnxslim_snacs.config import FinetuneConfig
from onnxslim_snacs.judge.judge import Judge
from onnxslim_snacs.model.graph import ModelGraph
from onnxslim_snacs.plan.work import Work
from onnxslim_snacs.proof.outcome import ProvedCut
from onnxslim_snacs.recovery.accept import Outcome, RecoveryReport, recover_proved

#: Batches of a block-wise distillation: a number and no time, so that plans lead to the same bytes.
STEPS = 400


def recovered(work: Work, asked: str, cut: ProvedCut, samples: Samples, judge: Judge) -> Outcome:
    """Recover a cut that was proved, and say how far the result is from the original.

    Args:
        work: the original.
        asked: one of `config.RECOVER`.
        cut: the cut.
        samples: recovery sees the scoring ones.
        judge: compares with the original on the others.
    """
    if asked != "distil":
        return recover_proved(work, asked, cut, samples, judge)
    from onnxslim_snacs.commands.finetune import never
    from onnxslim_snacs.training.tune import Attendance, Lesson, tune

    with work.clock.stage("drift"):
        raw = judge.drift(cut.model)
    base_dir = work.graph.base_dir
    # where blocks are gone, what is left stands for more than its name says
    teacher = work.analysis.graph.proto if work.aims is None else work.aims.model
    lesson = Lesson(ModelGraph(cut.model, base_dir), ModelGraph(teacher, base_dir), work.session)
    how = FinetuneConfig(
        steps=STEPS,
        features=1.0,
        seed=work.seed,
        threads=work.session.threads,
        provider=work.session.provider,
    )
    tuned = tune(lesson, samples, how, Attendance(never, work.progress, work.clock))
    if tuned.why:
        report = RecoveryReport(asked, "none", raw, (), tuned.why)
        return Outcome(cut.model, judge.with_blend(cut.model, raw), report)
    moved = judge.with_blend(tuned.model, judge.drift(tuned.model))
    return Outcome(tuned.model, moved, RecoveryReport(asked, "distil", raw))
