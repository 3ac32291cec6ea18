"""How far a model has moved from the original, which is its teacher on the same samples."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import inf, isfinite, sqrt
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from onnxslim_snacs.activations.inputs import ranks_classes
from onnxslim_snacs.activations.run import comparable, execute, is_quantity, open_session, trimmed
from onnxslim_snacs.activations.sources import Batch
from onnxslim_snacs.model.session import SessionConfig

#: Samples with similar margins that are looked at, at the least.
_NEAR = 20


@dataclass(frozen=True, slots=True)
class Answers:
    """What a model says to a set of samples.

    Attributes:
        outputs: for each output that is compared its values in each run; runs are kept apart,
            because extents may differ from run to run (lengths, detections).
        sizes: samples in each run.
        labels: (samples,) class numbers, if known.
    """

    outputs: tuple[tuple[NDArray[Any], ...], ...]
    sizes: tuple[int, ...]
    labels: NDArray[np.int64] | None = None

    @property
    def samples(self) -> int:
        """Number of samples."""
        return sum(self.sizes)


@dataclass(frozen=True, slots=True)
class Drift:
    """Distance between two models.

    Attributes:
        samples: on how many samples.
        rel_error: |difference| / |output| in the Euclidean norm, the mean over the outputs; of an
            output that numbers things, the share of the numbers that differ.
        top1_agreement: share of the samples with the same first class; None if there are none.
        standard_error: of that share, never 0: where no answer of n has changed, one of the next
            may (Agresti and Coull 1998).
        flip_risk: share of the answers that change, expected from how far margins have moved.
        blend_risk: share of the answers that change on samples into which others were mixed, the
            larger of the counted and the expected one: what to expect of samples unlike those that
            the network was trained on (`activations.blend`).
        is_telling: whether agreement says anything: not about random samples, nor where the
            original always gives the same answer.
        accuracy_before: with labels, the original's accuracy.
        accuracy_after: with labels, the other's accuracy.
        metric_before: what a measure of the user's own says of the original (`judge.metric`).
        metric_after: and of the other.
    """

    samples: int
    rel_error: float
    top1_agreement: float | None = None
    standard_error: float | None = None
    flip_risk: float | None = None
    blend_risk: float | None = None
    is_telling: bool = True
    accuracy_before: float | None = None
    accuracy_after: float | None = None
    metric_before: float | None = None
    metric_after: float | None = None

    @property
    def drop(self) -> float:
        """What is held against the tolerated drop: lost accuracy, lost agreement, or error.

        A measure of the user's own stands before all of them.  Of changed answers, the largest of
        the counted share, the expected one (of many cuts that are tried, the one is taken that was
        lucky in the count, and luck with margins is rarer), and that of mixed samples, if it is
        known.  Where agreement says nothing, the error counts as well.
        """
        if self.metric_before is not None and self.metric_after is not None:
            return self.metric_before - self.metric_after
        if self.accuracy_before is not None and self.accuracy_after is not None:
            return self.accuracy_before - self.accuracy_after
        if self.top1_agreement is not None:
            flips = (1.0 - self.top1_agreement, self.flip_risk or 0.0, self.blend_risk or 0.0)
            return max(*flips, 0.0 if self.is_telling else self.rel_error)
        return self.rel_error


def answers(
    model: ModelProto,
    batches: Iterable[Batch],
    config: SessionConfig,
    base_dir: Path | None = None,
) -> Answers:
    """Run a model over samples.

    Args:
        model: the model.
        batches: the samples; filled batches are cut back to what is in them.
        config: how to run it.
        base_dir: the folder of its external data.

    Raises:
        InputRefused: it cannot be run on them.
    """
    session = open_session(model, config, base_dir)
    names = [output.name for output in session.get_outputs()]
    runs: list[list[NDArray[Any]]] = []
    sizes, labels = [], []
    for batch in batches:
        outputs = execute(session, names, batch.inputs)
        runs.append([trimmed(o, batch) for o in comparable(outputs)])
        sizes.append(batch.size)
        if batch.labels is not None:
            labels.append(batch.labels)
    columns = tuple(zip(*runs, strict=True))
    return Answers(columns, tuple(sizes), np.concatenate(labels) if labels else None)


def answers_alike(said: Answers) -> bool:
    """Whether a model gives several samples the same answer: the same class, or the same numbers.

    What no dimension ties to the samples is not told apart, and is taken for different.
    """
    if said.samples < 2:
        return False
    place = class_output(said)
    if place is not None:
        rows = np.concatenate(said.outputs[place]).reshape(said.samples, -1).argmax(axis=1)
        return len(np.unique(rows)) == 1
    for runs in said.outputs:
        rows = tuple(values.shape[0] if values.ndim else 0 for values in runs)
        if rows != said.sizes or len({values.shape[1:] for values in runs}) != 1:
            return False
    whole = [np.concatenate(runs) for runs in said.outputs]
    return bool(whole) and all(bool((values == values[:1]).all()) for values in whole)


def drift(reference: Answers, other: Answers) -> Drift:
    """Compare two models' answers to the same samples."""
    errors = [_relative(a, b) for a, b in zip(reference.outputs, other.outputs, strict=True)]
    error = float(np.mean(errors)) if errors else 0.0
    place, samples = class_output(reference), reference.samples
    if place is None or _extents(reference.outputs[place]) != _extents(other.outputs[place]):
        return Drift(samples, error)
    wanted, got = (
        np.concatenate(said.outputs[place]).reshape(samples, -1) for said in (reference, other)
    )
    before, after = wanted.argmax(axis=1), got.argmax(axis=1)
    agreement = float((before == after).mean())
    moved = Drift(
        samples,
        error,
        agreement,
        share_error(agreement, samples),
        flip_risk(wanted, got),
        is_telling=bool((before != before[0]).any()),
    )
    if reference.labels is None or len(reference.labels) != samples:
        return moved
    return replace(
        moved,
        accuracy_before=float((before == reference.labels).mean()),
        accuracy_after=float((after == reference.labels).mean()),
    )


def same_answers(reference: Answers, other: Answers) -> NDArray[np.bool_] | None:
    """(samples,) whether the first class of each sample is the same; None if none are ranked."""
    place, samples = class_output(reference), reference.samples
    if place is None or _extents(reference.outputs[place]) != _extents(other.outputs[place]):
        return None
    before, after = (
        np.concatenate(said.outputs[place]).reshape(samples, -1).argmax(axis=1)
        for said in (reference, other)
    )
    alike: NDArray[np.bool_] = before == after
    return alike


def _extents(runs: Sequence[NDArray[Any]]) -> list[tuple[int, ...]]:
    return [values.shape for values in runs]


def share_error(share: float, samples: int) -> float:
    """Standard error of a share, two successes and two failures added (Agresti, Coull 1998)."""
    middle = (share * samples + 2) / (samples + 4)
    return sqrt(middle * (1 - middle) / (samples + 4))


def flip_risk(wanted: NDArray[Any], got: NDArray[Any]) -> float:
    """Share of the answers that change, expected from how far margins have moved.

    The margin of a sample is by how much its class leads.  Each margin is moved as those of the
    samples with the most similar margins were; the share of all such moves that end below zero
    varies much less from one set of samples to another than the number of changed answers does.

    Args:
        wanted: (samples, classes) of the original.
        got: (samples, classes) of the other.
    """
    classes = wanted.argmax(axis=1)
    before, after = _margins(wanted, classes), _margins(got, classes)
    if not (np.isfinite(before).all() and np.isfinite(after).all()):
        return 0.0
    order = np.argsort(before, kind="stable")
    moved, near = (after - before)[order], min(len(order), max(_NEAR, len(order) // 5))
    windows = np.lib.stride_tricks.sliding_window_view(moved, near)
    first = np.clip(np.arange(len(order)) - near // 2, 0, len(order) - near)
    return float(np.mean(before[order][:, None] + windows[first] < 0))


def _margins(values: NDArray[Any], classes: NDArray[np.int64]) -> NDArray[np.float64]:
    """(samples,) lead of a class over the best other; of logarithms for probabilities."""
    scores = values.astype(np.float64)
    if (scores >= 0).all() and np.allclose(scores.sum(axis=1), 1.0, atol=1e-3):
        scores = np.log(scores + 1e-12)
    rows = np.arange(len(scores))
    lead = scores[rows, classes]
    scores[rows, classes] = -np.inf
    found: NDArray[np.float64] = lead - scores.max(axis=1)
    return found


def class_output(reference: Answers) -> int | None:
    """Position of the first output that ranks classes, if there are samples to compare.

    It has one row for each sample, and the same classes in every run.
    """
    if reference.samples < 2:
        return None
    for position, runs in enumerate(reference.outputs):
        rows = tuple(values.shape[0] if values.ndim else 0 for values in runs)
        alike = rows == reference.sizes and len({values.shape[1:] for values in runs}) == 1
        if alike and is_quantity(runs[0]) and ranks_classes(runs[0].shape):
            return position
    return None


def _relative(wanted: Sequence[NDArray[Any]], got: Sequence[NDArray[Any]]) -> float:
    """|difference| / |output| over all runs; where extents differ, all of a run is lost."""
    if not wanted or not is_quantity(wanted[0]):
        return _unequal(wanted, got)
    difference = norm = 0.0
    for before, after in zip(wanted, got, strict=True):
        a = before.astype(np.float64)
        away = a - after.astype(np.float64) if before.shape == after.shape else a
        norm += float(np.vdot(a, a))
        difference += float(np.vdot(away, away))
    return sqrt(difference / (norm or 1.0)) if isfinite(difference) else inf


def _unequal(wanted: Sequence[NDArray[Any]], got: Sequence[NDArray[Any]]) -> float:
    """Share of the numbers that differ."""
    total = sum(values.size for values in wanted)
    apart = sum(
        int((a != b).sum()) if a.shape == b.shape else a.size
        for a, b in zip(wanted, got, strict=True)
    )
    return apart / max(1, total)
