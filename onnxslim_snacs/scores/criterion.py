"""What a criterion is: a function from a model and its data to one number for each unit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from onnxslim_snacs.ir.types import BoolArray
from onnxslim_snacs.model.session import SessionConfig
from onnxslim_snacs.ops.analyse import Analysis
from onnxslim_snacs.progress import Progress, silent

if TYPE_CHECKING:
    from onnxslim_snacs.activations.sources import CalibrationSource


@dataclass(frozen=True, slots=True)
class ScoreContext:
    """What a criterion may look at.

    Attributes:
        analysis: the model and its dependency IR.
        source: calibration data.
        session: how to run the model.
        seed: for everything that is drawn.
        progress: told (stage, done, total).
        groups: SNACS: filter groups for each layer; None for single filters.
    """

    analysis: Analysis
    source: CalibrationSource
    session: SessionConfig
    seed: int = 0
    progress: Progress = silent
    groups: int | None = None


@dataclass(frozen=True, slots=True)
class ScoreResult:
    """What a criterion says.

    Attributes:
        scores: group id -> (units,) higher means keep; comparable between groups only if the
            criterion ranks globally.
        limits: group id -> largest share of the units that may go without being asked for more.
        protected: group id -> (units,) units that stay.
        notes: what the report should tell, by topic.
    """

    scores: Mapping[str, NDArray[np.float64]]
    limits: Mapping[str, float] = field(default_factory=dict)
    protected: Mapping[str, BoolArray] = field(default_factory=dict)
    notes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Criterion:
    """A way to score units.

    Attributes:
        name: what the user types.
        summary: one line for `snacs-onnx criteria`.
        score: the function.
        needs_data: whether it looks at calibration data.
        joins_refit: whether its order is joined with what units cost after a re-fit, where
            recovery will re-fit.
    """

    name: str
    summary: str
    score: Callable[[ScoreContext], ScoreResult]
    needs_data: bool = True
    joins_refit: bool = False
