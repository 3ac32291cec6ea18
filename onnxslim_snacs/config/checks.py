"""Options that make no sense, alone or together."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeVar

from onnxslim_snacs.config.memory import InMemory
from onnxslim_snacs.config.requirements import requirement
from onnxslim_snacs.config.spending import EFFORTS
from onnxslim_snacs.errors import UsageError, foreign

if TYPE_CHECKING:
    from onnxslim_snacs.config import CompressConfig, DataConfig, FinetuneConfig, ReleasedConfig

#: How accuracy may be recovered.
RECOVER = ("auto", "none", "bias", "stats", "least-squares", "distil")
#: What a budget may be about.
TARGETS = ("params", "macs", "bytes", "latency")
#: Drop that is tolerated if nobody says otherwise: a sample in a hundred may change its answer.
MAX_DROP = 0.01
#: How the cut may be shared out between groups.
ALLOCATIONS = ("curves", "uniform", "scores")
#: By what it is settled in which order blocks go.
BLOCK_ORDERS = ("error", "energy", "correlation")
#: What may happen to the width of transformers.
WIDTHS = ("exact", "refit", "rotate")
#: What a plan may be exported as.
EXPORTED = ("json", "torch")
#: Where models may run.
PROVIDERS = ("auto", "cpu", "cuda")
#: With what linear algebra is done.
ARITHMETICS = ("auto", "numpy", "torch")
#: How images may lie in memory.
LAYOUTS = ("NCHW", "NHWC")
#: How an image of another shape comes to the model's size: stretched; its middle; whole, with a
#: grey border.
FITS = ("stretch", "crop", "letterbox")
#: What a model is trained on: the teacher's answers, labels, or both.
LOSSES = ("distil", "labels", "both")
#: How samples may be changed in training.
AUGMENT = ("flip", "shift", "mix")
#: More threads than any machine has; each session of ONNX Runtime starts as many.
MOST_THREADS = 1024

T = TypeVar("T")


def named(check: Callable[[T], None], config: T) -> None:
    """Run a check of a config, and name the field as Python's callers know it.

    Raises:
        UsageError: as the check does.
    """
    try:
        check(config)
    except UsageError as error:
        option = re.match(r"--([a-z]+(?:-[a-z]+)+)", str(error))
        if option is None:
            raise
        raise UsageError(f"{error} ({option[1].replace('-', '_')})") from None


def check_finetune(config: FinetuneConfig) -> None:
    """Make sure that the options make sense together.

    Raises:
        UsageError: they do not.
    """
    unknown = set(config.augment) - set(AUGMENT)
    if unknown:
        raise UsageError(f"--augment {sorted(unknown)[0]}: expected {', '.join(AUGMENT)} or none")
    if config.loss not in LOSSES:
        raise UsageError(f"--loss {config.loss}: expected one of {', '.join(LOSSES)}")
    counts = {"--batch": config.batch}
    if config.steps is not None:
        counts["--steps"] = config.steps
    for name, value in counts.items():
        if value < 1:
            raise UsageError(f"{name} {value}: expected at least 1")
    positive = {"--minutes": config.minutes, "--rate": config.rate, "clip": config.clip}
    for name, number in positive.items():
        if number <= 0.0:
            raise UsageError(f"{name} {number:g}: expected a positive number")
    if config.sparse is not None and not 0.0 < config.sparse < 1.0:
        raise UsageError(f"--sparse {config.sparse:g}: expected a number between 0 and 1")
    _not_negative({"--features": config.features, "decay": config.decay})
    for name, share in (("warmup", config.warmup), ("average", config.average)):
        if not 0.0 <= share < 1.0:
            raise UsageError(f"{name} {share:g}: expected a number in [0, 1)")
    _check_machine(config)


def _not_negative(values: Mapping[str, float]) -> None:
    for name, number in values.items():
        if number < 0.0:
            raise UsageError(f"{name} {number:g}: expected a number that is not negative")


def check_config(config: CompressConfig) -> None:
    """Make sure that the options make sense together.

    Raises:
        UsageError: they do not.
    """
    _check_budget(config)
    _check_blocks(config)
    if config.finetune is not None and config.finetune <= 0.0:
        raise UsageError(f"--finetune {config.finetune:g}: expected a positive number of minutes")
    if config.finetune is not None and config.data.path is None:
        raise UsageError("--finetune trains on samples: give some, --data")
    _check_machine(config)
    check_arithmetic(config.arithmetic)
    if config.multiple_of is not None and config.multiple_of < 1:
        raise UsageError(f"--multiple-of {config.multiple_of}: expected at least 1")
    if config.multiple_of is None and config.ratio is not None:
        raise UsageError(
            "--multiple-of auto belongs to --target or --auto: --ratio fixes the widths"
        )
    if config.tries < 0:
        raise UsageError(f"--tries {config.tries}: expected a number that is not negative")
    check_effort(config.effort)
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
    for text in config.require:
        requirement(text)
    metric: object = config.metric
    if metric is not None and not isinstance(metric, str) and not callable(metric):
        shown = foreign(f"{metric!r} ({type(metric).__name__})")
        raise UsageError(
            f"CompressConfig.metric: got {shown}, expected a function from the bytes of a model to "
            "a number, or module:function"
        )


def check_arithmetic(arithmetic: str) -> None:
    """Make sure that there is such an arithmetic.

    Raises:
        UsageError: there is none.
    """
    if arithmetic not in ARITHMETICS:
        raise UsageError(
            f"--arithmetic {foreign(arithmetic)}: expected one of {', '.join(ARITHMETICS)}"
        )


def check_effort(effort: str) -> None:
    """Make sure that there is such an effort.

    Raises:
        UsageError: there is none.
    """
    if effort not in EFFORTS:
        raise UsageError(f"--effort {foreign(effort)}: expected one of {', '.join(EFFORTS)}")


def _check_blocks(config: CompressConfig) -> None:
    if config.block_order not in BLOCK_ORDERS:
        raise UsageError(
            f"--block-order {config.block_order}: expected one of {', '.join(BLOCK_ORDERS)}"
        )
    if config.drop is not None and not config.blocks:
        raise UsageError("--drop belongs to --blocks")
    if config.drop is not None and config.drop < 0:
        raise UsageError(f"--drop {config.drop}: expected a number that is not negative")


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
    own = config.metric is not None  # whose units are anybody's
    if config.max_drop < 0.0 or (config.max_drop >= 1.0 and not own):
        raise UsageError(f"--max-drop {config.max_drop:g}: expected a number in [0, 1)")
    if config.allow_slower and "latency" not in config.target:
        raise UsageError("--allow-slower belongs to --target latency=...")


def check_released(config: ReleasedConfig) -> None:
    """Make sure that the options of the released formulas make sense.

    Raises:
        UsageError: they do not.
    """
    _check_machine(config)
    if config.params is not None and not 0.0 < config.params <= 1.0:
        raise UsageError(f"--target params={config.params:g}: the share to keep lies in (0, 1]")
    if not 0.0 <= config.max_drop < 1.0:
        raise UsageError(f"--max-drop {config.max_drop:g}: expected a number in [0, 1)")
    if config.groups is not None and config.groups < 1:
        raise UsageError(f"--groups {config.groups}: expected at least 1")
    if not 0.0 <= config.save < 1.0:
        raise UsageError(f"--save {config.save:g}: expected a share in [0, 1)")


def _check_machine(config: CompressConfig | ReleasedConfig | FinetuneConfig) -> None:
    if not 1 <= config.threads <= MOST_THREADS:
        raise UsageError(f"--threads {config.threads}: expected 1 to {MOST_THREADS}")
    if config.seed < 0:
        raise UsageError(f"--seed {config.seed}: expected a number that is not negative")
    if config.provider not in PROVIDERS:
        raise UsageError(f"--provider {config.provider}: expected one of {', '.join(PROVIDERS)}")


def check_data(data: DataConfig) -> None:
    """Make sure that the options of data make sense.

    Raises:
        UsageError: they do not.
    """
    if data.labels is not None and not isinstance(data.path, InMemory):
        raise UsageError(
            "DataConfig.labels belongs to samples in memory: in files, labels are an array of that "
            "name beside them"
        )
    if data.path == "":
        raise UsageError("--data: the path is empty")
    if data.size is not None and min(data.size) < 1:
        raise UsageError(f"--size {data.size}: expected positive numbers")
    if not data.mean or not data.std:
        raise UsageError("--mean, --std: expected a number for each channel, or one for all")
    for name, shape in data.input_shapes.items():
        if any(extent < 0 for extent in shape):
            raise UsageError(f"--input-shape {foreign(name)}={shape}: no extent is negative")
    if data.samples is not None and data.samples < 1:
        raise UsageError(f"--samples {data.samples}: expected at least 1")
    if data.fit not in FITS:
        raise UsageError(f"--fit {data.fit}: expected one of {', '.join(FITS)}")
    if data.layout not in LAYOUTS:
        raise UsageError(f"--layout {data.layout}: expected NCHW or NHWC")
    if any(s <= 0 for s in data.std):
        raise UsageError("--std: expected positive numbers")
    if any(axis < 0 for axis in data.sample_axes.values()):
        raise UsageError("--sample-axis: axes are counted from 0")
