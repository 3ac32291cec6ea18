"""What recovery is given, and what comes of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from onnx import ModelProto

from onnxslim_snacs.activations.sources import CalibrationSource
from onnxslim_snacs.ir.keep import KeepMap
from onnxslim_snacs.layers.aims import Aims
from onnxslim_snacs.layers.layers import NotFitted
from onnxslim_snacs.layers.walk import Walk
from onnxslim_snacs.model.graph import ModelGraph
from onnxslim_snacs.model.session import SessionConfig
from onnxslim_snacs.ops.analyse import Analysis
from onnxslim_snacs.progress import Progress, silent
from onnxslim_snacs.recovery.effort import WHOLE, Effort
from onnxslim_snacs.recovery.gates import GateTask
from onnxslim_snacs.recovery.regression import Regression
from onnxslim_snacs.recovery.solve import Affine
from onnxslim_snacs.recovery.tasks import Task

Fit = Callable[[Regression, Affine], Affine]


@dataclass(frozen=True, slots=True)
class Method:
    """A way to correct a layer.

    Attributes:
        fit: (regression, present map) -> the correction; fits to the rows that are not held out,
            and may use those to choose.
        wide: whether it sees the layer's input, or only the layer's own output.
        sums: whether a layer may aim at the sum into which it runs.
    """

    fit: Fit
    wide: bool
    sums: bool


@dataclass(frozen=True, slots=True)
class LayerRecord:
    """What happened to one layer.

    Attributes:
        name: of its node.
        op: its operator.
        target: the tensor of the original at which it aims; "" if it was not tried.
        before: squared error on held-out rows, relative to the variance of the target.
        after: the same for the correction.
        kept: whether the correction was kept.
        seconds: time.
        reason: why it was not tried.
    """

    name: str
    op: str
    target: str = ""
    before: float | None = None
    after: float | None = None
    kept: bool = False
    seconds: float = 0.0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Recovered:
    """A corrected model.

    Attributes:
        model: the model.
        layers: what happened to each layer.
    """

    model: ModelProto
    layers: tuple[LayerRecord, ...]


@dataclass(frozen=True, slots=True)
class Cut:
    """A cut, and what there is to recover from it with.

    Attributes:
        analysis: the original.
        keep: what the plan keeps.
        model: the cut model.
        source: calibration data.
        session: how to run the models.
        seed: for the choice of rows.
        progress: told (stage, done, total).
        effort: how much work the recovery is given.
        unbiased: outputs of layers to which nothing can be added.
        aims: what the layers are to come to, where `analysis` is itself without some blocks of the
            original; None where it is the original.
    """

    analysis: Analysis
    keep: KeepMap
    model: ModelProto
    source: CalibrationSource
    session: SessionConfig = field(default_factory=SessionConfig)
    seed: int = 0
    progress: Progress = silent
    effort: Effort = WHOLE
    unbiased: frozenset[str] = frozenset()
    aims: Aims | None = None


@dataclass(frozen=True, slots=True)
class Runs:
    """The original and a cut model, run side by side."""

    original: Walk
    present: Walk


@dataclass(slots=True)
class Job:
    """One of the cuts that are recovered together.

    Attributes:
        cut: the cut.
        graph: its model before any correction.
        tasks: its layers in order.
        runs: the original, which all jobs share, and its own model.
        rng: for the choice of rows.
        records: what has happened so far.
    """

    cut: Cut
    graph: ModelGraph
    tasks: list[Task | GateTask | NotFitted]
    runs: Runs
    rng: np.random.Generator
    records: list[LayerRecord] = field(default_factory=list)
