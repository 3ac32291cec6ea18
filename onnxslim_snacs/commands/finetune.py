"""Train a model by the original's answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from onnx import ModelProto

from onnxslim_snacs.activations.open_data import files_of, open_source
from onnxslim_snacs.activations.samples import split
from onnxslim_snacs.commands.naming import names_file
from onnxslim_snacs.commands.outputs import Outputs, weight_files
from onnxslim_snacs.commands.sparse import choose_going, remove_zeros
from onnxslim_snacs.config import FinetuneConfig
from onnxslim_snacs.config.fields import checked
from onnxslim_snacs.config.line import as_options
from onnxslim_snacs.errors import InputRefused, UsageError, foreign
from onnxslim_snacs.model.graph import ModelGraph
from onnxslim_snacs.model.interface import interface_difference
from onnxslim_snacs.model.load import load_model
from onnxslim_snacs.model.session import SessionConfig, resolve_provider
from onnxslim_snacs.progress import Clock, Progress, silent
from onnxslim_snacs.report.make import versions
from onnxslim_snacs.report.report import to_json
from onnxslim_snacs.report.training import TrainingReport
from onnxslim_snacs.report.training_page import training_page
from onnxslim_snacs.training.tune import Attendance, Lesson, tune


def never() -> bool:
    """Nobody asks the training to stop."""
    return False


def nothing_told(report: TrainingReport) -> None:
    """A report that nobody waits for."""


@checked
@names_file
def finetune(
    path: Path | str,
    teacher: Path | str,
    config: FinetuneConfig,
    *,
    out: Path | str | None = None,
    report_out: Path | str | None = None,
    html_out: Path | str | None = None,
    checkpoint: Path | str | None = None,
    resume: bool = False,
    overwrite: bool = False,
    stop: Callable[[], bool] = never,
    progress: Progress = silent,
    told: Callable[[TrainingReport], None] = nothing_told,
) -> tuple[ModelProto, TrainingReport]:
    """Train a model to answer as another one does, and never give back a worse one.

    Args:
        path: the model.
        teacher: the original that it was made from; the same inputs and outputs.
        config: how.
        out: where to write the result; None writes nothing.
        report_out: where to write the report; it comes into its place together with the model.
        html_out: where to write the report as a page, likewise.
        checkpoint: where to write down how training stands; gone when it ends by itself.
        resume: go on from the checkpoint, if there is one.
        overwrite: whether existing files may be replaced.
        stop: asked after each step whether to come to an end.
        progress: told (stage, done, total); the last stage is "write".
        told: told the report before its files are written; if it raises, none is.

    Raises:
        SnacsError: one leaf for each way in which a run can end, see `errors`.
    """
    if config.data.path is None:
        raise UsageError("--data: training needs samples")
    clock = Clock(progress)
    with clock.stage("load"):
        student, original = load_model(Path(path)), load_model(Path(teacher))
        outputs = Outputs.of(
            path,
            student,
            model=out,
            report=report_out,
            html=html_out,
            overwrite=overwrite,
            inputs=(Path(teacher), *weight_files(original), *files_of(config.data)),
        )
        _require_alike(student, original, teacher)
    session = SessionConfig(resolve_provider(config.provider), config.threads)
    with clock.stage("data"):
        source = open_source(config.data, student, seed=config.seed)
        samples = split(source)
        if config.loss != "distil" and not (source.has_labels and source.classes):
            raise UsageError(f"--loss {config.loss}: {foreign(source.name)} holds no labels")
    note = None if checkpoint is None else Path(checkpoint)
    lesson, going = Lesson(student, original, session), None
    if config.sparse is not None:
        with clock.stage("score"):
            going = choose_going(student, samples.scoring, session, config, progress)
        lesson = replace(lesson, student=going.analysis.graph, going=going.units)
    tuned = tune(
        lesson,
        samples,
        config,
        Attendance(stop, progress, clock, note, resume),
    )
    trained, why, model, removed = tuned.trained, tuned.why, tuned.model, None
    if going is not None:
        model, removed = remove_zeros(model, going, samples.judging, session, clock, progress)
    report = TrainingReport(
        model=str(path),
        teacher=str(teacher),
        output=None if out is None else str(out),
        improved=not why,
        why=why,
        samples=(samples.scoring.samples, samples.judging.samples),
        before=tuned.before,
        after=tuned.before if why else tuned.after,
        logit_error=(trained.start.error, trained.start.error if why else trained.end.error),
        steps=trained.steps,
        seconds=trained.seconds,
        stopped=trained.stopped,
        curve=trained.curve,
        timings=clock.seconds,
        config=config,
        command=_line(path, teacher, config, out),
        versions=versions(),
        removed=removed,
        statistics_anew=trained.anew and not why,
    )
    told(report)
    progress("write", 0, 1)
    outputs.put(model, student.base_dir, _beside(outputs, report))
    if note is not None and not trained.stopped:
        note.unlink(missing_ok=True)
    return model, report


def _beside(outputs: Outputs, report: TrainingReport) -> dict[Path, str]:
    """The texts that are written with the model."""
    texts = {} if outputs.report is None else {outputs.report: to_json(report)}
    if outputs.html is not None:
        texts[outputs.html] = training_page(report)
    return texts


def _line(
    path: Path | str, teacher: Path | str, config: FinetuneConfig, out: Path | str | None
) -> tuple[str, ...]:
    """The command line that trains so again."""
    place = () if out is None else ("-o", str(out))
    given = ("--teacher", str(teacher), *as_options(config), *place)
    return ("snacs-onnx", "finetune", str(path), *given)


def _require_alike(student: ModelGraph, original: ModelGraph, name: Path | str) -> None:
    different = interface_difference(original.proto, student.proto)
    if different:
        raise InputRefused(f"{foreign(name)} cannot teach this model: {different}")
