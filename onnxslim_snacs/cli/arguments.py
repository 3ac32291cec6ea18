"""Options that several commands share, and what they do with them before and after their work."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from onnxslim_snacs.cli import options
from onnxslim_snacs.cli.bars import ProgressBars
from onnxslim_snacs.cli.panels import (
    DATA_PANEL,
    MACHINE_PANEL,
    METHOD_PANEL,
    OUTPUT_PANEL,
    one_of,
)
from onnxslim_snacs.cli.terminal import (
    finish,
    screen,
    write_stdout,
)
from onnxslim_snacs.cli.worker import limit_memory, limit_seconds
from onnxslim_snacs.config import (
    CompressConfig,
    DataConfig,
    FinetuneConfig,
    ReleasedConfig,
)
from onnxslim_snacs.config.checks import FITS, LAYOUTS, MOST_THREADS, PROVIDERS
from onnxslim_snacs.errors import (
    UsageError,
    foreign,
)

if TYPE_CHECKING:
    from onnxslim_snacs.commands.start import Compressed


#: How images are prepared for families of models.
PRESETS = {
    "imagenet": DataConfig(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), fit="crop"),
    "yolo": DataConfig(fit="letterbox"),
    "yolox": DataConfig(std=(1 / 255,), fit="letterbox", bgr=True),
}
#: What options are if nobody gives them is said once, in `config`.
DEFAULT, DATA, RELEASED = CompressConfig(), DataConfig(), ReleasedConfig()
TRAINING = FinetuneConfig()
Model = Annotated[Path, typer.Argument(metavar="MODEL.onnx", help="The model.")]
Json = Annotated[
    bool, typer.Option("--json", help="Write JSON to stdout.", rich_help_panel=OUTPUT_PANEL)
]
Force = Annotated[
    bool, typer.Option("--force", help="Replace files that exist.", rich_help_panel=OUTPUT_PANEL)
]
Data = Annotated[
    str | None,
    typer.Option(
        "--data",
        metavar="PATH",
        help=".npz, .npy, a folder of them or of images, module:function or file.py:function; "
        "without it: seeded random inputs.",
        rich_help_panel=DATA_PANEL,
    ),
]
Samples = Annotated[
    int | None, typer.Option(help="Use at most so many samples.", rich_help_panel=DATA_PANEL)
]
Mean = Annotated[
    str | None,
    typer.Option(help="Of images, e.g. 0.485,0.456,0.406.", rich_help_panel=DATA_PANEL),
]
Std = Annotated[
    str | None,
    typer.Option(help="Of images, e.g. 0.229,0.224,0.225.", rich_help_panel=DATA_PANEL),
]
Size = Annotated[
    str | None, typer.Option(metavar="H,W", help="Of images.", rich_help_panel=DATA_PANEL)
]
Layout = Annotated[str, one_of("--layout", LAYOUTS, "Of images.", DATA_PANEL)]
Fit = Annotated[
    str,
    one_of(
        "--fit",
        FITS,
        "How images of another shape are brought to the size: stretched, their middle, or whole "
        "with a grey border.",
        DATA_PANEL,
    ),
]
Bgr = Annotated[
    bool,
    typer.Option("--bgr", help="Images as blue, green, red.", rich_help_panel=DATA_PANEL),
]
ClassFolders = Annotated[
    bool,
    typer.Option(
        "--class-folders",
        help="Labels from the folders of images: one for each class, in the order of names.",
        rich_help_panel=DATA_PANEL,
    ),
]
Preset = Annotated[
    str | None,
    one_of(
        "--preset",
        tuple(PRESETS),
        "How images are prepared: mean and std of ImageNet and its middle; letterbox, 0 ... 1; "
        "letterbox, BGR, 0 ... 255. Other options go before.",
        DATA_PANEL,
    ),
]
Threads = Annotated[
    int,
    typer.Option(
        "--threads",
        min=1,
        max=MOST_THREADS,
        help="Threads of ONNX Runtime.",
        rich_help_panel=MACHINE_PANEL,
    ),
]
Provider = Annotated[str, one_of("--provider", PROVIDERS, "Where models run.", MACHINE_PANEL)]
Seed = Annotated[
    int,
    typer.Option("--seed", help="For everything that is drawn.", rich_help_panel=METHOD_PANEL),
]
InputShape = Annotated[
    list[str] | None,
    typer.Option(
        "--input-shape",
        metavar="NAME=1,3,H,W",
        help="Sizes of an input whose dynamic dimensions cannot be guessed (repeatable).",
        rich_help_panel=DATA_PANEL,
    ),
]
SampleAxis = Annotated[
    list[str] | None,
    typer.Option(
        "--sample-axis",
        metavar="NAME=1",
        help="The axis of an input along which its samples lie, if not the first (repeatable).",
        rich_help_panel=DATA_PANEL,
    ),
]
Out = Annotated[
    Path | None,
    typer.Option("-o", "--out", help="Default: MODEL.slim.onnx.", rich_help_panel=OUTPUT_PANEL),
]
ReportOut = Annotated[
    Path | None,
    typer.Option("--report", help="Write the report here as JSON.", rich_help_panel=OUTPUT_PANEL),
]
HtmlOut = Annotated[
    Path | None,
    typer.Option(
        "--html",
        metavar="REPORT.html",
        help="Write the report here as a page: one file, for any browser.",
        rich_help_panel=OUTPUT_PANEL,
    ),
]
Metadata = Annotated[
    bool,
    typer.Option(
        "--metadata/--no-metadata",
        help="Note tool, version, digest of the plan and shares kept in the model.",
        rich_help_panel=OUTPUT_PANEL,
    ),
]
MaxMemory = Annotated[
    str | None,
    typer.Option(
        "--max-memory",
        metavar="SIZE",
        help="Bytes that the run may take, e.g. 4G; three quarters of what is free if not given.",
        rich_help_panel=MACHINE_PANEL,
    ),
]
MaxTime = Annotated[
    float | None,
    typer.Option(
        "--max-time",
        metavar="SECONDS",
        help="End the run after so long.",
        rich_help_panel=MACHINE_PANEL,
    ),
]
Inexact = Annotated[
    bool,
    typer.Option(
        "--allow-inexact",
        help="Let normalisations lose channels.",
        rich_help_panel=METHOD_PANEL,
    ),
]


def data_config(
    data: str | None,
    samples: int | None,
    mean: str | None,
    std: str | None,
    size: str | None,
    layout: str,
    fit: str,
    bgr: bool,
    class_folders: bool,
    preset: str | None,
    input_shape: list[str] | None,
    sample_axis: list[str] | None,
) -> DataConfig:
    """The options that say where samples come from, and what they are."""
    usual = DATA if preset is None else PRESETS[preset]
    return DataConfig(
        path=data,
        samples=samples,
        mean=options.floats("--mean", mean, usual.mean),
        std=options.floats("--std", std, usual.std),
        size=options.size("--size", size),
        layout=layout,
        fit=usual.fit if fit == DATA.fit else fit,
        bgr=bgr or usual.bgr,
        class_folders=class_folders,
        input_shapes=options.shapes(input_shape),
        sample_axes=options.axes(sample_axis),
    )


def beside(model: Path) -> Path:
    """Where the result goes if nobody says: MODEL.slim.onnx."""
    return model.with_name(f"{model.stem}.slim.onnx")


def show(
    done: Compressed, *, json: bool, bars: ProgressBars | None = None, quiet: bool = False
) -> None:
    """Show the result, and make sure that it has arrived: its files come into their places then."""
    from onnxslim_snacs.report import print_report, to_json
    from onnxslim_snacs.report.make import NO_DATA  # told before the work
    from onnxslim_snacs.report.sentences import alarm

    if bars is not None:
        bars.stop()
    said = alarm(done.report.drift)
    warn([text for text in done.report.warnings if text not in (NO_DATA, said)], quiet=quiet)
    if json:
        write_stdout(to_json(done.report))
    else:
        print_report(done.report, screen())
    finish()
    if said:
        screen(stderr=True).print(f"[bold white on red] {escape(said)} ", soft_wrap=True)


def keep_within(max_memory: str | None, max_time: float | None) -> None:
    """Hold the process to what it may take.

    Args:
        max_memory: bytes, with a unit; None for the default.
        max_time: seconds; None for no limit.
    """
    if max_memory is not None:
        limit_memory(options.memory(max_memory))
    if max_time is None:
        return
    if not 0 < max_time < math.inf:
        raise UsageError(f"--max-time {max_time:g}: expected a positive number of seconds")
    limit_seconds(max_time)


def warn(texts: Sequence[str], *, quiet: bool = False) -> None:
    """Say on stderr what the user should know, unless he has asked for silence."""
    for text in () if quiet else texts:
        screen(stderr=True).print(
            f"[bold yellow]warning:[/bold yellow] {escape(foreign(text))}", soft_wrap=True
        )
