"""Train a model by the original's answers."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

from onnx import ModelProto

from onnxslim_snacs.activations.samples import split
from onnxslim_snacs.activations.sources import CalibrationSource, files_of, open_source
from onnxslim_snacs.config import FinetuneConfig
from onnxslim_snacs.config.fields import checked
from onnxslim_snacs.config.line import as_options
from onnxslim_snacs.errors import InputRefused, UsageError, foreign
from onnxslim_snacs.judge.drift import Drift, answers, drift
from onnxslim_snacs.model.external import external_files
from onnxslim_snacs.model.graph import ModelGraph
from onnxslim_snacs.model.interface import interface_difference
from onnxslim_snacs.model.load import load_model
from onnxslim_snacs.model.save import save_model
from onnxslim_snacs.model.session import SessionConfig, resolve_provider
from onnxslim_snacs.model.stored import stored_tensors
from onnxslim_snacs.model.targets import check_targets
from onnxslim_snacs.plan.plan import model_digest
from onnxslim_snacs.progress import Clock, Progress, silent
from onnxslim_snacs.report.make import versions
from onnxslim_snacs.report.report import to_json
from onnxslim_snacs.report.training import TrainingReport
from onnxslim_snacs.report.training_page import training_page
from onnxslim_snacs.torch_graph.network import open_network
from onnxslim_snacs.torch_graph.put_back import with_weights
from onnxslim_snacs.torch_graph.threads import torch_threads
from onnxslim_snacs.training.distil import Course, Trained, train
from onnxslim_snacs.training.teacher import open_examiner, open_teacher


def never() -> bool:
    """Nobody asks the training to stop."""
    return False


@checked
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

    Raises:
        SnacsError: one leaf for each way in which a run can end, see `errors`.
    """
    if config.data.path is None:
        raise UsageError("--data: training needs samples")
    clock = Clock(progress)
    with clock.stage("load"):
        student, original = load_model(Path(path)), load_model(Path(teacher))
        read = (*_files(path, student), *_files(teacher, original), *files_of(config.data))
        places = _places(read, (out, report_out, html_out), overwrite=overwrite)
        _require_alike(student, original, teacher)
    session = SessionConfig(resolve_provider(config.provider), config.threads)
    with clock.stage("data"):
        source = open_source(config.data, student, seed=config.seed)
        samples = split(source)
        if config.loss != "distil" and not (source.has_labels and source.classes):
            raise UsageError(f"--loss {config.loss}: {foreign(source.name)} holds no labels")
    note = None if checkpoint is None else Path(checkpoint)
    with clock.stage("train"), torch_threads(config.threads):
        network = open_network(student, device="cuda" if session.provider == "cuda" else "cpu")
        if not network.trained:
            raise InputRefused("the model stores no weights that could be trained")
        answering = open_teacher(original, session)
        course = Course(
            network,
            answering,
            open_examiner(answering, samples.judging),
            samples.scoring,
            config,
            None if note is None else (note, _identity(student, original, config)),
            resume and note is not None and note.exists(),
            stop,
            progress,
        )
        trained = train(course)
    with clock.stage("judge"):
        made = with_weights(network, trained.best) if trained.best else student.proto
        before, after = _distances(original, student, made, samples.judging, session)
    why = _worse(trained, before, after, config.loss)
    model = student.proto if why else made
    report = TrainingReport(
        model=str(path),
        teacher=str(teacher),
        output=None if out is None else str(out),
        improved=not why,
        why=why,
        samples=(samples.scoring.samples, samples.judging.samples),
        before=before,
        after=before if why else after,
        logit_error=(trained.start.error, trained.start.error if why else trained.end.error),
        steps=trained.steps,
        seconds=trained.seconds,
        stopped=trained.stopped,
        curve=trained.curve,
        timings=clock.seconds,
        config=config,
        command=_line(path, teacher, config, out),
        versions=versions(),
    )
    progress("write", 0, 1)
    _write(model, places, report, student.base_dir, read, overwrite=overwrite)
    if note is not None and not trained.stopped:
        note.unlink(missing_ok=True)
    return model, report


def _line(
    path: Path | str, teacher: Path | str, config: FinetuneConfig, out: Path | str | None
) -> tuple[str, ...]:
    """The command line that trains so again."""
    place = () if out is None else ("-o", str(out))
    given = ("--teacher", str(teacher), *as_options(config), *place)
    return ("snacs-onnx", "finetune", str(path), *given)


def _files(path: Path | str, graph: ModelGraph) -> list[Path]:
    """A model's file and those of its weights."""
    stored = (tensor for _, tensor in stored_tensors(graph.proto))
    return [Path(path), *external_files(stored, graph.base_dir or Path())]


def _places(
    read: Iterable[Path], files: Sequence[Path | str | None], *, overwrite: bool
) -> tuple[Path | None, ...]:
    """Where model, report and page go, and that they can."""
    if files[0] is None and any(files[1:]):
        raise UsageError("the report is written together with the model: give `out`")
    places = tuple(None if file is None else Path(file) for file in files)
    check_targets(places, read, overwrite=overwrite)
    return places


def _write(
    model: ModelProto,
    places: tuple[Path | None, ...],
    report: TrainingReport,
    base_dir: Path | None,
    read: Iterable[Path],
    *,
    overwrite: bool,
) -> None:
    out, report_out, html_out = places
    if out is None:
        return
    beside = {} if report_out is None else {report_out: to_json(report)}
    if html_out is not None:
        beside[html_out] = training_page(report)
    save_model(model, out, base_dir=base_dir, inputs=read, overwrite=overwrite, beside=beside)


def _distances(
    original: ModelGraph,
    student: ModelGraph,
    made: ModelProto,
    judging: CalibrationSource,
    session: SessionConfig,
) -> tuple[Drift, Drift]:
    """How far the model was from its teacher, and how far it is, in ONNX Runtime."""
    reference = answers(original.proto, judging.batches(), session, original.base_dir)
    told = (
        answers(model, judging.batches(), session, student.base_dir)
        for model in (student.proto, made)
    )
    before, after = (drift(reference, each) for each in told)
    return before, after


def _require_alike(student: ModelGraph, original: ModelGraph, name: Path | str) -> None:
    different = interface_difference(original.proto, student.proto)
    if different:
        raise InputRefused(f"{foreign(name)} cannot teach this model: {different}")


def _identity(student: ModelGraph, original: ModelGraph, config: FinetuneConfig) -> str:
    """Of everything that a checkpoint depends on."""
    digest = hashlib.sha256()
    for graph in (student, original):
        digest.update(model_digest(graph.proto, graph.base_dir).encode())
    digest.update(repr(sorted(asdict(config).items())).encode())
    return digest.hexdigest()


def _worse(trained: Trained, before: Drift, after: Drift, loss: str) -> str:
    """Why the trained model is no better than the one that came in; "" if it is."""
    if not trained.best:
        return "no weights did better than those that came in on samples that were held out"
    if loss != "labels" and after.rel_error > before.rel_error:
        return "the outputs came no nearer to the teacher's on samples that were held out"
    agreed = (before.top1_agreement or 0.0, after.top1_agreement or 0.0)
    if loss != "labels" and agreed[1] < agreed[0]:
        return "fewer answers agree with the teacher's on samples that were held out"
    right = (before.accuracy_after or 0.0, after.accuracy_after or 0.0)
    if loss != "distil" and right[1] < right[0]:
        return "fewer answers are right on samples that were held out"
    return ""
