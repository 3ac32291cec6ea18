"""What the teacher answers, and how far a student's answers are from it.

Answers are compared in front of a last softmax or sigmoid, where differences are not flattened.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from onnxslim_snacs.activations.inputs import ranks_classes
from onnxslim_snacs.activations.run import execute, open_session
from onnxslim_snacs.activations.sources import CalibrationSource
from onnxslim_snacs.errors import InputRefused, foreign
from onnxslim_snacs.model.graph import ModelGraph
from onnxslim_snacs.model.session import SessionConfig
from onnxslim_snacs.torch_graph.answers import answer_tensors, chosen
from onnxslim_snacs.torch_graph.late import functional, torch
from onnxslim_snacs.torch_graph.network import Network, run

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Teacher:
    """A model in ONNX Runtime that answers.

    Attributes:
        session: it.
        tensors: output -> the tensor by which it answers.
        features: more tensors that it is asked for in training.
    """

    session: Any
    tensors: Mapping[str, str]
    features: tuple[str, ...] = ()

    def answers(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Output -> what it answers, in single precision."""
        names = list(self.tensors.values())
        made = execute(self.session, names, inputs)
        return {
            output: np.asarray(value, dtype=np.float32)
            for output, value in zip(self.tensors, made, strict=True)
        }

    def lesson(
        self, inputs: Mapping[str, NDArray[Any]]
    ) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]]]:
        """What it answers, and what it has at its features."""
        names = [*self.tensors.values(), *self.features]
        made = [np.asarray(v, dtype=np.float32) for v in execute(self.session, names, inputs)]
        count = len(self.tensors)
        told = dict(zip(self.tensors, made[:count], strict=True))
        return told, dict(zip(self.features, made[count:], strict=True))


def open_teacher(
    graph: ModelGraph, session: SessionConfig, features: tuple[str, ...] = ()
) -> Teacher:
    """Make a model ready to answer.

    Args:
        graph: the model.
        session: how to run it.
        features: more tensors that it will be asked for.

    Raises:
        InputRefused: ONNX Runtime does not take it.
    """
    tensors = answer_tensors(graph)
    more = [n for n in dict.fromkeys((*tensors.values(), *features)) if n not in graph.outputs]
    opened = open_session(graph.proto, session, graph.base_dir, more)
    return Teacher(opened, tensors, features)


def student_answers(
    network: Network,
    inputs: Mapping[str, NDArray[Any]],
    values: Mapping[str, Tensor] | None = None,
) -> dict[str, Tensor]:
    """Output -> what a student answers."""
    names = answer_tensors(network.graph)
    return chosen(run(network, inputs, values=values, watched=names.values()).watched, names)


def paired(
    student: Mapping[str, Tensor], teacher: Mapping[str, NDArray[Any]], size: int
) -> list[tuple[Tensor, Tensor]]:
    """(student, teacher) answers of the first `size` samples, output by output.

    Raises:
        InputRefused: they have different shapes, or nothing can be compared.
    """
    pairs = []
    for output, mine in student.items():
        theirs = torch.from_numpy(teacher[output]).to(mine)
        if mine.shape != theirs.shape:
            raise InputRefused(
                f"output {foreign(output)}: the teacher answers in the shape "
                f"{tuple(theirs.shape)}, the model in {tuple(mine.shape)}"
            )
        cut = size if mine.ndim and len(mine) > size else None
        pairs.append((mine[:cut], theirs[:cut]) if mine.ndim else (mine, theirs))
    if not pairs:
        raise InputRefused("the model has no output of floats: there is nothing to learn from")
    return pairs


@dataclass(frozen=True, slots=True)
class Standing:
    """How a student does on samples that it is not trained on.

    Attributes:
        error: |difference| / |answer| in the Euclidean norm, the mean over the outputs.
        agreement: share of the samples with the teacher's first class; None if there are none.
        cross_entropy: of the labels; None without.
    """

    error: float
    agreement: float | None = None
    cross_entropy: float | None = None

    def value(self, loss: str) -> float:
        """What training is to make small: the error, the cross-entropy, or their product."""
        if loss == "distil" or self.cross_entropy is None:
            return self.error
        return self.cross_entropy if loss == "labels" else self.error * self.cross_entropy

    def may_replace(self, start: Standing, loss: str) -> bool:
        """Whether nothing has become worse since the start."""
        same = self.agreement is None or start.agreement is None
        agrees = loss == "labels" or same or (self.agreement or 0.0) >= (start.agreement or 0.0)
        return agrees and self.value(loss) < start.value(loss)


@dataclass(frozen=True)
class Examiner:
    """Samples that are held out, with the teacher's answers to them.

    Attributes:
        batches: (inputs, answers, samples, labels) of each run.
    """

    batches: tuple[tuple[dict[str, Any], dict[str, NDArray[Any]], int, Any], ...]

    @cached_property
    def spread(self) -> dict[str, float]:
        """Output -> variance of the teacher's answers, for their differences to count alike."""
        outputs = self.batches[0][1]
        whole = {
            name: np.concatenate([b[1][name].ravel() for b in self.batches]) for name in outputs
        }
        return {name: float(values.var(dtype=np.float64)) or 1.0 for name, values in whole.items()}

    def examine(self, network: Network, values: Mapping[str, Tensor] | None = None) -> Standing:
        """Look at a student.

        Args:
            network: the student.
            values: weights in the place of its own.
        """
        distance: list[float] = []
        length: list[float] = []
        same, ranked, entropy, labelled = 0, 0, 0.0, 0
        with torch.no_grad():
            for inputs, answers, size, labels in self.batches:
                pairs = paired(student_answers(network, inputs, values), answers, size)
                distance = _added(distance, [float((a - b).square().sum()) for a, b in pairs])
                length = _added(length, [float(b.square().sum()) for _, b in pairs])
                classes = [(a, b) for a, b in pairs if ranks_classes(a.shape)]
                if not classes:
                    continue
                mine, theirs = (side.flatten(1) for side in classes[0])
                same += int((mine.argmax(1) == theirs.argmax(1)).sum())
                ranked += len(mine)
                if labels is not None:
                    wanted = torch.from_numpy(labels).to(mine.device)
                    entropy += float(functional.cross_entropy(mine, wanted, reduction="sum"))
                    labelled += len(labels)
        errors = [(d / (n or 1.0)) ** 0.5 for d, n in zip(distance, length, strict=True)]
        return Standing(
            float(np.mean(errors)),
            same / ranked if ranked else None,
            entropy / labelled if labelled else None,
        )


def _added(sums: list[float], more: list[float]) -> list[float]:
    return [a + b for a, b in zip(sums, more, strict=True)] if sums else more


def open_examiner(teacher: Teacher, source: CalibrationSource) -> Examiner:
    """Ask the teacher about samples that are held out; its answers are kept."""
    return Examiner(
        tuple(
            (batch.inputs, teacher.answers(batch.inputs), batch.size, batch.labels)
            for batch in source.batches()
        )
    )
