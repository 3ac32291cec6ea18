"""Options as frozen values; the command line's options are their fields."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from onnxslim_snacs.config.checks import (
    ALLOCATIONS,
    AUGMENT,
    BLOCK_ORDERS,
    LOSSES,
    MAX_DROP,
    PROVIDERS,
    RECOVER,
    TARGETS,
    WIDTHS,
    check_config,
    check_data,
    check_finetune,
    check_released,
    named,
)
from onnxslim_snacs.config.cores import physical_cores
from onnxslim_snacs.config.fields import check_fields
from onnxslim_snacs.config.goals import Budget, Drop, Goal, Ratio
from onnxslim_snacs.config.memory import in_memory, labels_in_memory

__all__ = [
    "ALLOCATIONS",
    "AUGMENT",
    "BLOCK_ORDERS",
    "LOSSES",
    "MAX_DROP",
    "PROVIDERS",
    "RECOVER",
    "TARGETS",
    "WIDTHS",
    "Budget",
    "CompressConfig",
    "DataConfig",
    "Drop",
    "FinetuneConfig",
    "Goal",
    "Ratio",
    "ReleasedConfig",
]


@dataclass(frozen=True, slots=True)
class DataConfig:
    """Where calibration data comes from.

    Attributes:
        path: .npz, .npy, a folder, `module:function`, or None for seeded random inputs; in memory
            (`activations.held`): arrays by input, one array, a list of dicts, an iterable that can
            be started again (a DataLoader of torch, a CalibrationDataReader of
            onnxruntime.quantization) or a function that yields samples; each item of these is a
            dict, an array, or arrays in the order of the inputs, perhaps with labels behind them.
        samples: how many samples to use at the most; None for all.
        mean: per-channel mean of images, in units of 0 ... 1.
        std: per-channel standard deviation of images, in units of 0 ... 1.
        size: height and width to which images are resized; None takes the model's own.
        layout: "NCHW" or "NHWC".
        fit: how images of another shape are brought to it: stretch, crop (the middle of the image
            at 8/7 of the size) or letterbox (whole, with a grey border).
        bgr: the channels of images in the order blue, green, red.
        class_folders: images lie in a folder for each class, in the order of the folders' names.
        input_shapes: sizes for inputs whose dynamic dimensions cannot be guessed.
        sample_axes: input -> the axis along which its samples lie, where that is not the first.
        labels: (sample,) classes of samples in memory, in any of those forms, where they do not
            come with the samples.
    """

    path: str | Any | None = None
    samples: int | None = None
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    size: tuple[int, int] | None = None
    layout: str = "NCHW"
    fit: str = "stretch"
    bgr: bool = False
    class_folders: bool = False
    input_shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    sample_axes: Mapping[str, int] = field(default_factory=dict)
    labels: Any | None = field(default=None, metadata={"memory": True})

    def __post_init__(self) -> None:
        """Hold the values against their types, and against each other."""
        check_fields(self)
        if not isinstance(self.path, str | None):
            object.__setattr__(self, "path", in_memory("DataConfig.path", self.path))
        if self.labels is not None:
            object.__setattr__(self, "labels", labels_in_memory("DataConfig.labels", self.labels))
        named(check_data, self)


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
        effort: how much work the run is given: fast or normal, see `config.spending`.
        tries: with a target: allocations that are recovered and judged before one is chosen.
        options: options of the criterion by their names, as text or as values.
        recover: how accuracy is recovered after the cut: auto, none, bias, stats, least-squares, or
            distil (training at the ends of blocks).
        blocks: drop whole blocks as well: a target is met by blocks and channels together, a ratio
            is one of the blocks, too, and half of a tolerated drop is theirs.
        block_order: in which order blocks go: error (greedy, with the layers re-fitted that answer
            for what went), energy (PED) or correlation (with the outputs).
        drop: instead, how many blocks go.
        finetune: minutes for which what is left is trained by the original's answers; None: not.
        allow_inexact: let normalisations lose channels.
        width: the residual width of transformers: exact (it stays, unless `allow_inexact`), refit
            (normalisations lose channels, what reads them is re-fitted) or rotate (turned into its
            principal components first, of which the last go).
        protect: glob patterns of node and tensor names that keep all their channels.
        multiple_of: kept channels are rounded up to a multiple of this; None takes the multiple
            that this machine runs fastest.
        seed: for everything that is drawn.
        threads: threads of ONNX Runtime and of linear algebra: all physical cores if not given.  A
            number that is given leads to the same bytes wherever it runs.
        provider: auto, cpu or cuda.
        arithmetic: with what linear algebra is done: numpy, torch (extras `[gpu]`, `[train]`), or
            auto, which is torch where models run on a card that it sees.
        metric: a measure of the caller's own, the larger the better, which takes the place of top-1
            under `max_drop`: a function from the bytes of a model to a number, or
            `module:function`.
        simplify: let onnxslim fold and fuse what it can before anything else (extra `[simplify]`).
        require: conditions on the result, `agreement>=0.98` or `metric>=0.9`; if one is missed,
            nothing is written.
        metadata: write down in the model by what it was made, and how much was kept.
    """

    data: DataConfig = field(default_factory=DataConfig)
    target: Mapping[str, float] = field(default_factory=dict)
    ratio: float | None = None
    max_drop: float = MAX_DROP
    allow_slower: bool = False
    criterion: str = "snacs-refit"
    allocation: str = "curves"
    effort: str = "normal"
    tries: int = 5
    options: Mapping[str, object] = field(default_factory=dict)
    recover: str = "auto"
    blocks: bool = False
    block_order: str = "error"
    drop: int | None = None
    finetune: float | None = None
    allow_inexact: bool = False
    width: str = "exact"
    protect: tuple[str, ...] = ()
    multiple_of: int | None = 1
    seed: int = 0
    threads: int = field(default_factory=physical_cores, metadata={"machine": True})
    provider: str = "auto"
    arithmetic: str = "auto"
    metric: str | Callable[[bytes], float] | None = None
    simplify: bool = False
    require: tuple[str, ...] = ()
    metadata: bool = True

    def __post_init__(self) -> None:
        """Hold the values against their types, and against each other."""
        check_fields(self)
        named(check_config, self)

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
        phi: what the score of a connection is scaled by (method 3.4).
        save: share of each layer's filters that the released sensitivity protects (method 3.7).
        seed: for everything that is drawn.
        threads: threads of ONNX Runtime; fixed, because results depend on it.
        provider: auto, cpu or cuda.
    """

    data: DataConfig = field(default_factory=DataConfig)
    params: float | None = None
    max_drop: float = MAX_DROP
    groups: int | None = None
    phi: str = "weight"
    save: float = 0.0
    seed: int = 0
    threads: int = 1
    provider: str = "auto"

    def __post_init__(self) -> None:
        """Hold the values against their types, and against each other."""
        check_fields(self)
        named(check_released, self)


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
        sparse: drive units to zero and remove them, until this share of the multiply-accumulates
            is left; None trains the model as it is.
        features: weight of the distance from the teacher at the ends of blocks; 0 looks at answers
            alone.
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
    sparse: float | None = None
    features: float = 0.0
    seed: int = 0
    threads: int = 1
    provider: str = "auto"

    def __post_init__(self) -> None:
        """Hold the values against their types, and against each other."""
        check_fields(self)
        named(check_finetune, self)
