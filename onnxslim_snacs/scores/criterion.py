"""What a criterion is: a function from a model and its data to one number for each unit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from onnxslim_snacs.config.spending import NORMAL, Spending
from onnxslim_snacs.errors import UsageError
from onnxslim_snacs.ir.types import BoolArray
from onnxslim_snacs.model.session import SessionConfig
from onnxslim_snacs.ops.analyse import Analysis
from onnxslim_snacs.progress import Progress, silent

if TYPE_CHECKING:
    from onnxslim_snacs.activations.riders import Rider
    from onnxslim_snacs.activations.sources import CalibrationSource
    from onnxslim_snacs.cluster.spread import Spread


@dataclass(frozen=True, slots=True)
class ScoreContext:
    """What a criterion may look at.

    Attributes:
        analysis: the model and its dependency IR.
        source: calibration data.
        session: how to run the model.
        seed: for everything that is drawn.
        progress: told (stage, done, total).
        spending: what the run may spend.
        rider: looks at activations while the criterion runs the model, if it does.
        spread: where tasks run that can be shared out; None for this process.
    """

    analysis: Analysis
    source: CalibrationSource
    session: SessionConfig
    seed: int = 0
    progress: Progress = silent
    spending: Spending = NORMAL
    rider: Rider | None = None
    spread: Spread | None = None


@dataclass(frozen=True, slots=True)
class ScoreResult:
    """What a criterion says.

    Attributes:
        scores: group id -> (units,) higher means keep; comparable between groups only if the
            criterion ranks globally.
        limits: group id -> largest share of the units that may go without being asked for more.
        protected: group id -> (units,) units that stay.
        notes: what the report should tell, by topic.
        warnings: what the user should know.
    """

    scores: Mapping[str, NDArray[np.float64]]
    limits: Mapping[str, float] = field(default_factory=dict)
    protected: Mapping[str, BoolArray] = field(default_factory=dict)
    notes: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Option:
    """A setting of one criterion.

    Attributes:
        name: what the user types, `--option NAME=VALUE`; a keyword of the criterion's function.
        read: from text to the value; a ValueError says what is wrong.
        summary: one line for `snacs-onnx criteria`.
    """

    name: str
    read: Callable[[str], object]
    summary: str


@dataclass(frozen=True, slots=True)
class Criterion:
    """A way to score units.

    Attributes:
        name: what the user types.
        summary: one line for `snacs-onnx criteria`.
        score: the function; its keywords are the criterion's options.
        needs_data: whether it looks at calibration data.
        needs: what it looks at: weights, activations, gradients, outputs, labels (if there are
            some).
        joins_refit: whether its order is joined with what units cost after a re-fit, where
            recovery will re-fit.
    """

    name: str
    summary: str
    score: Callable[..., ScoreResult]
    needs_data: bool = True
    needs: tuple[str, ...] = ()
    joins_refit: bool = False
    options: tuple[Option, ...] = ()


def with_options(criterion: Criterion, given: Mapping[str, object]) -> Criterion:
    """The criterion with some of its options set.

    Args:
        criterion: the criterion.
        given: option -> value, or its text.

    Raises:
        UsageError: it has no such option, or the value is none of its.
    """
    known = {option.name: option for option in criterion.options}
    values = {}
    for name, value in given.items():
        if name not in known:
            has = ", ".join(known) or "none"
            raise UsageError(f"--option {name}: --criterion {criterion.name} knows {has}")
        try:
            values[name] = known[name].read(str(value))
        except ValueError as error:
            raise UsageError(f"--option {name}={value}: {error}") from error
    return replace(criterion, score=partial(criterion.score, **values)) if values else criterion
