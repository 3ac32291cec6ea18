"""How far the outputs of any decision are from the original's, on a few samples."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from onnxslim_snacs.activations.restarts import Restarts, open_restarts
from onnxslim_snacs.activations.sources import Batch
from onnxslim_snacs.errors import InputRefused
from onnxslim_snacs.ir.keep import keep_map
from onnxslim_snacs.model.session import SessionConfig
from onnxslim_snacs.ops.analyse import Analysis
from onnxslim_snacs.plan.kept import Kept


@dataclass(frozen=True)
class ErrorJudge:
    """Relative squared error of the output for any decision.

    Attributes:
        analysis: the model.
        runs: the model with masks on a few samples.
        spread: squared spread of each output over the samples.
    """

    analysis: Analysis
    runs: Restarts
    spread: tuple[float, ...]

    def error(self, kept: Kept) -> float:
        """The mean over the outputs of |difference|^2 / |output - mean|^2.

        It is infinite if anything is not finite, and where the model fails without what is dropped:
        a value that it computes may be a size of something else.
        """
        keep = keep_map(self.analysis.ir, kept)
        total = np.zeros(len(self.spread))
        for number, wanted in enumerate(self.runs.reference):
            try:
                got = self.runs.run(number, keep)
            except InputRefused:
                return float("inf")
            total += [squared_distance(a, b) for a, b in zip(wanted, got, strict=True)]
        error = float(np.mean(total / np.array(self.spread)))
        return error if np.isfinite(error) else float("inf")


#: Something that a judge is asked; a function that is found by its name, perhaps with arguments.
Question: TypeAlias = Callable[[ErrorJudge], Any]
#: Questions -> the answers in their order.
Ask: TypeAlias = Callable[[Iterable[Question]], Iterator[Any]]


def answering(judge: ErrorJudge) -> Callable[[Question], Any]:
    """What answers questions by a judge."""

    def answer(question: Question) -> Any:
        return question(judge)

    return answer


def error_judge(analysis: Analysis, session: SessionConfig, batches: Sequence[Batch]) -> ErrorJudge:
    """Open sessions with masks and record what the original answers.

    Args:
        analysis: the model.
        session: how to run it.
        batches: the samples to judge by.
    """
    runs = open_restarts(analysis, session, tuple(batches))
    spread = []
    for column in zip(*runs.reference, strict=True):
        if all(o.shape[1:] == column[0].shape[1:] for o in column):
            rows = np.concatenate([np.atleast_1d(o).astype(np.float64) for o in column])
            around = rows - rows.mean(axis=0) if len(rows) > 1 else rows
        else:
            around = np.concatenate([o.astype(np.float64).ravel() for o in column])
        spread.append(max(float(np.square(around).sum()), 1e-30))
    return ErrorJudge(analysis, runs, tuple(spread))


def squared_distance(a: NDArray[Any], b: NDArray[Any]) -> float:
    """|a - b|^2; where their extents differ (detections, for instance), all of `a` is lost."""
    if a.shape != b.shape:
        return float(np.square(a.astype(np.float64)).sum())
    difference = a.astype(np.float64) - b.astype(np.float64)
    return float(np.square(difference).sum())
