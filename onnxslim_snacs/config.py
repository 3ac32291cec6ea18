"""Options as frozen values; the command line's options are their fields."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from onnxslim_snacs.errors import UsageError

#: How accuracy may be recovered.
RECOVER = ("auto", "none", "bias", "stats", "least-squares")
#: What a budget may be about.
TARGETS = ("params", "macs", "bytes", "latency")
#: Drop that is tolerated if nobody says otherwise: a sample in a hundred may change its answer.
MAX_DROP = 0.01
#: How the cut may be shared out between groups.
ALLOCATIONS = ("curves", "uniform", "scores")
#: What may happen to the width of transformers.
WIDTHS = ("exact", "refit", "rotate")
#: Where models may run.
PROVIDERS = ("auto", "cpu", "cuda")


@dataclass(frozen=True, slots=True)
class DataConfig:
    """Where calibration data comes from.

    Attributes:
        path: .npz, .npy, a folder, `module:function`, or None for seeded random inputs.
        samples: how many samples to use at the most; None for all.
        mean: per-channel mean of images, in units of 0 ... 1.
        std: per-channel standard deviation of images, in units of 0 ... 1.
        size: height and width to which images are resized; None takes the model's own.
        layout: "NCHW" or "NHWC".
        input_shapes: sizes for inputs whose dynamic dimensions cannot be guessed.
        sample_axes: input -> the axis along which its samples lie, where that is not the first.
    """

    path: str | None = None
    samples: int | None = None
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    size: tuple[int, int] | None = None
    layout: str = "NCHW"
    input_shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    sample_axes: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Ratio:
    """Remove the share `share` of the units of every group."""

    share: float


@dataclass(frozen=True, slots=True)
class Budget:
    """Keep no more than these shares of the original's costs.

    Attributes:
        shares: params, macs, bytes or latency -> share to keep; all have to hold at once.
        allow_slower: with a share for latency, write a model even if it is not faster.
    """

    shares: Mapping[str, float]
    allow_slower: bool = False

    @property
    def counted(self) -> Mapping[str, float]:
        """The budgets that are counted and not measured."""
        return {name: share for name, share in self.shares.items() if name != "latency"}


@dataclass(frozen=True, slots=True)
class Drop:
    """Remove what can go at a drop of at most `most`."""

    most: float = MAX_DROP


#: What a run is to reach.
Goal = Ratio | Budget | Drop


@dataclass(frozen=True, slots=True)
class CompressConfig:
    """What `compress` is asked to do.

    Attributes:
        data: calibration data.
        target: budget -> share of the original to keep; several have to hold at once.
        ratio: instead, the share of the units of every group to remove.
        max_drop: tolerated drop for the automatic decision (the default when neither of the others
            is given): share of changed top-1 answers, or relative output error.
        allow_slower: with a target for latency, write a model even if it is not faster.
        criterion: name of the criterion.
        allocation: how much of the cut each group bears: curves, uniform or scores.
        tries: with a target: allocations that are recovered and judged before one is chosen.
        options: options of the criterion by their names, as text or as values.
        recover: how accuracy is recovered after the cut: auto, none, bias, stats, least-squares.
        allow_inexact: let normalisations lose channels.
        width: the residual width of transformers: exact (it stays, unless `allow_inexact`), refit
            (normalisations lose channels, what reads them is re-fitted) or rotate (turned into its
            principal components first, of which the last go).
        protect: glob patterns of node and tensor names that keep all their channels.
        multiple_of: kept channels are rounded up to a multiple of this; None takes the multiple
            that this machine runs fastest.
        seed: for everything that is drawn.
        threads: threads of ONNX Runtime; fixed, because results depend on it.
        provider: auto, cpu or cuda.
    """

    data: DataConfig = field(default_factory=DataConfig)
    target: Mapping[str, float] = field(default_factory=dict)
    ratio: float | None = None
    max_drop: float = MAX_DROP
    allow_slower: bool = False
    criterion: str = "snacs"
    allocation: str = "curves"
    tries: int = 5
    options: Mapping[str, object] = field(default_factory=dict)
    recover: str = "auto"
    allow_inexact: bool = False
    width: str = "exact"
    protect: tuple[str, ...] = ()
    multiple_of: int | None = 1
    seed: int = 0
    threads: int = 1
    provider: str = "auto"

    @property
    def goal(self) -> Goal:
        """What `target`, `ratio` and `max_drop` come to."""
        if self.ratio is not None:
            return Ratio(self.ratio)
        if self.target:
            return Budget(self.target, self.allow_slower)
        return Drop(self.max_drop)

    @property
    def loosens_norms(self) -> bool:
        """Whether normalisations may lose channels."""
        return self.allow_inexact or self.width == "refit"

    @property
    def measures_curves(self) -> bool:
        """Whether groups share the cut by what cutting them does to the output."""
        return self.ratio is None and self.allocation == "curves"


@dataclass(frozen=True, slots=True)
class ReleasedConfig:
    """What `released` is asked to do.

    Attributes:
        data: calibration data.
        params: share of the connections' weights to keep; None for the automatic decision.
        max_drop: tolerated drop for the automatic decision.
        groups: filter groups for each layer; None for single filters.
        seed: for everything that is drawn.
        threads: threads of ONNX Runtime; fixed, because results depend on it.
        provider: auto, cpu or cuda.
    """

    data: DataConfig = field(default_factory=DataConfig)
    params: float | None = None
    max_drop: float = MAX_DROP
    groups: int | None = None
    seed: int = 0
    threads: int = 1
    provider: str = "auto"


#: What a model is trained on: the teacher's answers, labels, or both.
LOSSES = ("distil", "labels", "both")
#: How samples may be changed in training.
AUGMENT = ("flip", "shift", "mix")


@dataclass(frozen=True, slots=True)
class FinetuneConfig:
    """How a model is trained.

    Attributes:
        data: samples; labels only if they are asked for.
        minutes: how long, if `steps` does not say it.
        steps: how many batches; then the result does not depend on how fast the machine is.
        batch: samples in a step.
        rate: the largest learning rate of AdamW, for weights of a root mean square of 0.05; for
            others in proportion.
        decay: of weights, for each step and unit of the rate.
        warmup: share of the training in which the rate rises.
        clip: length to which gradients are cut.
        average: how much the moving average of the weights keeps in each step.
        augment: how samples are changed: flip and shift (images), mix.
        loss: distil, labels or both.
        seed: for everything that is drawn.
        threads: threads of torch and of ONNX Runtime; fixed, because results depend on it.
        provider: auto, cpu or cuda.
    """

    data: DataConfig = field(default_factory=DataConfig)
    minutes: float = 10.0
    steps: int | None = None
    batch: int = 50
    rate: float = 5e-4
    decay: float = 1e-4
    warmup: float = 0.05
    clip: float = 1.0
    average: float = 0.99
    augment: tuple[str, ...] = AUGMENT
    loss: str = "distil"
    seed: int = 0
    threads: int = 1
    provider: str = "auto"


def check_finetune(config: FinetuneConfig) -> None:
    """Make sure that the options make sense together.

    Raises:
        UsageError: they do not.
    """
    _check_data(config.data)
    if config.data.path is None:
        raise UsageError("--data: training needs samples")
    unknown = set(config.augment) - set(AUGMENT)
    if unknown:
        raise UsageError(f"--augment {sorted(unknown)[0]}: expected {', '.join(AUGMENT)} or none")
    if config.loss not in LOSSES:
        raise UsageError(f"--loss {config.loss}: expected one of {', '.join(LOSSES)}")
    counts = {"--batch": config.batch, "--threads": config.threads}
    if config.steps is not None:
        counts["--steps"] = config.steps
    for name, value in counts.items():
        if value < 1:
            raise UsageError(f"{name} {value}: expected at least 1")
    for name, number in (("--minutes", config.minutes), ("--rate", config.rate)):
        if not 0.0 < number < math.inf:
            raise UsageError(f"{name} {number:g}: expected a positive number")
    if config.provider not in PROVIDERS:
        raise UsageError(f"--provider {config.provider}: expected one of {', '.join(PROVIDERS)}")


def check_config(config: CompressConfig) -> None:
    """Make sure that the options make sense together.

    Raises:
        UsageError: they do not.
    """
    _check_budget(config)
    _check_data(config.data)
    _check_machine(config)
    if config.multiple_of is not None and config.multiple_of < 1:
        raise UsageError(f"--multiple-of {config.multiple_of}: expected at least 1")
    if config.multiple_of is None and config.ratio is not None:
        raise UsageError(
            "--multiple-of auto belongs to --target or --auto: --ratio fixes the widths"
        )
    if config.tries < 0:
        raise UsageError(f"--tries {config.tries}: expected a number that is not negative")
    if config.allocation not in ALLOCATIONS:
        raise UsageError(
            f"--allocation {config.allocation}: expected one of {', '.join(ALLOCATIONS)}"
        )
    if config.width not in WIDTHS:
        raise UsageError(f"--width {config.width}: expected one of {', '.join(WIDTHS)}")
    if config.width == "rotate" and config.data.path is None:
        raise UsageError("--width rotate finds principal components: give some samples, --data")
    if config.recover not in RECOVER:
        raise UsageError(f"--recover {config.recover}: expected one of {', '.join(RECOVER)}")


def _check_budget(config: CompressConfig) -> None:
    for name, share in config.target.items():
        if name not in TARGETS:
            raise UsageError(f"--target {name}: expected one of {', '.join(TARGETS)}")
        if not 0.0 < share <= 1.0:
            raise UsageError(f"--target {name}={share:g}: the share to keep lies in (0, 1]")
    if config.target and config.ratio is not None:
        raise UsageError("--target and --ratio exclude each other")
    if config.ratio is not None and not 0.0 <= config.ratio < 1.0:
        raise UsageError(f"--ratio {config.ratio:g}: the share to remove lies in [0, 1)")
    if not 0.0 <= config.max_drop < 1.0:
        raise UsageError(f"--max-drop {config.max_drop:g}: expected a number in [0, 1)")
    if config.allow_slower and "latency" not in config.target:
        raise UsageError("--allow-slower belongs to --target latency=...")


def check_released(config: ReleasedConfig) -> None:
    """Make sure that the options of the released formulas make sense.

    Raises:
        UsageError: they do not.
    """
    _check_data(config.data)
    _check_machine(config)
    if config.params is not None and not 0.0 < config.params <= 1.0:
        raise UsageError(f"--target params={config.params:g}: the share to keep lies in (0, 1]")
    if not 0.0 <= config.max_drop < 1.0:
        raise UsageError(f"--max-drop {config.max_drop:g}: expected a number in [0, 1)")
    if config.groups is not None and config.groups < 1:
        raise UsageError(f"--groups {config.groups}: expected at least 1")


def _check_machine(config: CompressConfig | ReleasedConfig) -> None:
    if config.threads < 1:
        raise UsageError(f"--threads {config.threads}: expected at least 1")
    if config.seed < 0:
        raise UsageError(f"--seed {config.seed}: expected a number that is not negative")
    if config.provider not in PROVIDERS:
        raise UsageError(f"--provider {config.provider}: expected one of {', '.join(PROVIDERS)}")


def _check_data(data: DataConfig) -> None:
    if data.samples is not None and data.samples < 1:
        raise UsageError(f"--samples {data.samples}: expected at least 1")
    if data.layout not in ("NCHW", "NHWC"):
        raise UsageError(f"--layout {data.layout}: expected NCHW or NHWC")
    if any(s <= 0 for s in data.std):
        raise UsageError("--std: expected positive numbers")
    if any(axis < 0 for axis in data.sample_axes.values()):
        raise UsageError("--sample-axis: axes are counted from 0")
