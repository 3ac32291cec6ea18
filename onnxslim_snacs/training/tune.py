"""A model, its teacher and samples in; the trained model out, or the one that came in."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from onnx import ModelProto

from onnxslim_snacs.activations.samples import Samples
from onnxslim_snacs.activations.sources import CalibrationSource
from onnxslim_snacs.config import FinetuneConfig
from onnxslim_snacs.errors import InputRefused
from onnxslim_snacs.ir.types import Axis, IntArray
from onnxslim_snacs.judge.drift import Drift, answers, drift
from onnxslim_snacs.model.graph import ModelGraph
from onnxslim_snacs.model.session import SessionConfig
from onnxslim_snacs.plan.plan import model_digest
from onnxslim_snacs.progress import Clock, Progress
from onnxslim_snacs.torch_graph.layout import lay_channels_last
from onnxslim_snacs.torch_graph.network import open_network
from onnxslim_snacs.torch_graph.put_back import with_weights
from onnxslim_snacs.torch_graph.threads import torch_threads
from onnxslim_snacs.training.distil import Course, Trained, train
from onnxslim_snacs.training.fading import open_fading
from onnxslim_snacs.training.features import block_ends
from onnxslim_snacs.training.teacher import open_examiner, open_teacher


@dataclass(frozen=True, slots=True)
class Lesson:
    """A model that learns, and the one that it learns from.

    Attributes:
        student: the model; not changed.
        original: what it was made from, with the same inputs and outputs.
        session: how to run both.
        going: units that are to become zero: (group, axis of a weight, (units, multiplicity) slots
            on it); the result is then taken whatever it costs.
    """

    student: ModelGraph
    original: ModelGraph
    session: SessionConfig
    going: Sequence[tuple[str, Axis, IntArray]] = ()


@dataclass(frozen=True, slots=True)
class Attendance:
    """Who looks at a training.

    Attributes:
        stop: asked after each step whether to come to an end.
        progress: told (stage, done, total).
        clock: notes how long the stages took.
        note: where to write down how training stands; None: nowhere.
        resume: go on from there, if there is something.
    """

    stop: Callable[[], bool]
    progress: Progress
    clock: Clock
    note: Path | None = None
    resume: bool = False


@dataclass(frozen=True, slots=True)
class Tuned:
    """What came of a training.

    Attributes:
        model: the trained model, or the one that came in.
        why: why it is the one that came in; "" if it is not.
        before: distance from the original on samples that were held out.
        after: the same of the trained model, whether it was taken or not.
        trained: how training went.
    """

    model: ModelProto
    why: str
    before: Drift
    after: Drift
    trained: Trained


def tune(lesson: Lesson, samples: Samples, config: FinetuneConfig, seen_by: Attendance) -> Tuned:
    """Train a model to answer as another one does, and never give back a worse one.

    Args:
        lesson: the two models.
        samples: to train on, and to judge by.
        config: how.
        seen_by: who looks at it.

    Raises:
        InputRefused: nothing can be trained, or torch cannot run the model.
    """
    student, original, session = lesson.student, lesson.original, lesson.session
    note, clock = seen_by.note, seen_by.clock
    with clock.stage("train"), torch_threads(config.threads):
        network = open_network(student, device="cuda" if session.provider == "cuda" else "cpu")
        if not network.trained:
            raise InputRefused("the model stores no weights that could be trained")
        lay_channels_last(network)
        ends = block_ends(student, original) if config.features else ()
        answering = open_teacher(original, session, ends)
        course = Course(
            network=network,
            teacher=answering,
            examiner=open_examiner(answering, samples.judging),
            source=samples.scoring,
            config=config,
            checkpoint=None if note is None else (note, _identity(student, original, config)),
            resume=seen_by.resume and note is not None and note.exists(),
            stop=seen_by.stop,
            progress=seen_by.progress,
            fading=open_fading(network.values, lesson.going) if lesson.going else None,
        )
        trained = train(course)
    with clock.stage("judge"):
        made = with_weights(network, trained.best) if trained.best else student.proto
        before, after = _distances(lesson, made, samples.judging)
    why = "" if lesson.going else _worse(trained, before, after, config.loss)
    return Tuned(student.proto if why else made, why, before, after, trained)


def _distances(lesson: Lesson, made: ModelProto, judging: CalibrationSource) -> tuple[Drift, Drift]:
    """How far the model was from its teacher, and how far it is, in ONNX Runtime."""
    original, student = lesson.original, lesson.student
    reference = answers(original.proto, judging.batches(), lesson.session, original.base_dir)
    told = (
        answers(model, judging.batches(), lesson.session, student.base_dir)
        for model in (student.proto, made)
    )
    before, after = (drift(reference, each) for each in told)
    return before, after


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
