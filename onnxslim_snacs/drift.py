"""How far a model has moved from the original, which is its teacher on the same samples."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from onnxslim_snacs.activations.run import execute
from onnxslim_snacs.activations.sources import Batch
from onnxslim_snacs.model.session import SessionConfig, create_session


@dataclass(frozen=True, slots=True)
class Answers:
    """What a model says to a set of samples.

    Attributes:
        outputs: for each floating output its values, samples first where the batch is.
        labels: (samples,) class numbers, if known.
    """

    outputs: tuple[NDArray[Any], ...]
    labels: NDArray[np.int64] | None


@dataclass(frozen=True, slots=True)
class Drift:
    """Distance between two models.

    Attributes:
        samples: on how many samples.
        rel_error: |difference| / |output| in the Euclidean norm, the mean over the outputs.
        top1_agreement: share of the samples with the same first class; None if there are none.
        standard_error: of that share.
        accuracy_before: with labels, the original's accuracy.
        accuracy_after: with labels, the other's accuracy.
    """

    samples: int
    rel_error: float
    top1_agreement: float | None = None
    standard_error: float | None = None
    accuracy_before: float | None = None
    accuracy_after: float | None = None

    @property
    def drop(self) -> float:
        """What is held against the tolerated drop: lost accuracy, lost agreement, or error."""
        if self.accuracy_before is not None and self.accuracy_after is not None:
            return self.accuracy_before - self.accuracy_after
        if self.top1_agreement is not None:
            return 1.0 - self.top1_agreement
        return self.rel_error


def answers(
    model: ModelProto,
    batches: Iterable[Batch],
    config: SessionConfig,
    base_dir: Path | None = None,
) -> Answers:
    """Run a model over samples.

    Raises:
        InputRefused: it cannot be run on them.
    """
    session = create_session(model, config, base_dir)
    names = [output.name for output in session.get_outputs()]
    rows: list[list[NDArray[Any]]] = []
    labels = []
    for batch in batches:
        outputs = execute(session, names, batch.inputs)
        fed = next(iter(batch.inputs.values())).shape[:1]
        rows.append([_filled(o, fed, batch.size) for o in outputs if o.dtype.kind == "f"])
        if batch.labels is not None:
            labels.append(batch.labels)
    stacked = tuple(
        np.concatenate([np.atleast_1d(o) for o in column]) for column in zip(*rows, strict=True)
    )
    return Answers(stacked, np.concatenate(labels) if labels else None)


def _filled(output: NDArray[Any], fed: tuple[int, ...], size: int) -> NDArray[Any]:
    """The rows of real samples: a model with a fixed batch is fed repetitions of the last one."""
    return output[:size] if output.shape[:1] == fed and fed > (size,) else output


def drift(reference: Answers, other: Answers) -> Drift:
    """Compare two models' answers to the same samples."""
    errors = [_relative(a, b) for a, b in zip(reference.outputs, other.outputs, strict=True)]
    error = float(np.mean(errors)) if errors else 0.0
    logits = class_output(reference)
    samples = len(reference.outputs[0]) if reference.outputs else 0
    if logits is None:
        return Drift(samples, error)
    before = reference.outputs[logits].argmax(axis=1)
    after = other.outputs[logits].argmax(axis=1)
    agreement = float((before == after).mean())
    spread = sqrt(agreement * (1 - agreement) / max(1, samples))
    if reference.labels is None or len(reference.labels) != samples:
        return Drift(samples, error, agreement, spread)
    return Drift(
        samples,
        error,
        agreement,
        spread,
        float((before == reference.labels).mean()),
        float((after == reference.labels).mean()),
    )


def class_output(reference: Answers) -> int | None:
    """Position of the output that ranks classes: the first of shape (samples, at least 2)."""
    for position, output in enumerate(reference.outputs):
        if output.ndim == 2 and output.shape[1] >= 2 and len(output) >= 2:
            return position
    return None


def _relative(wanted: NDArray[Any], got: NDArray[Any]) -> float:
    a, b = wanted.astype(np.float64), got.astype(np.float64)
    if a.shape != b.shape:
        return float("inf")
    norm = float(np.linalg.norm(a))
    return float(np.linalg.norm(a - b)) / (norm or 1.0)
