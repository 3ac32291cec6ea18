"""Options that several commands share."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from onnxslim_snacs.cli import options
from onnxslim_snacs.cli.option_groups import Gathered
from onnxslim_snacs.cli.panels import (
    MACHINE_PANEL,
    METHOD_PANEL,
    OUTPUT_PANEL,
    one_of,
)
from onnxslim_snacs.cli.worker import limit_memory, limit_seconds
from onnxslim_snacs.config import (
    CompressConfig,
    FinetuneConfig,
    ReleasedConfig,
)
from onnxslim_snacs.config.checks import ARITHMETICS, MOST_THREADS, PROVIDERS
from onnxslim_snacs.errors import UsageError

#: What options are if nobody gives them is said once, in `config`.
DEFAULT, RELEASED = CompressConfig(), ReleasedConfig()
TRAINING = FinetuneConfig()
Model = Annotated[Path, typer.Argument(metavar="MODEL.onnx", help="The model.")]
Force = Annotated[
    bool, typer.Option("--force", help="Replace files that exist.", rich_help_panel=OUTPUT_PANEL)
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
Cluster = Annotated[
    str | None,
    typer.Option(
        "--cluster",
        metavar="ADDRESS",
        help="Share the work out: a Dask scheduler's address, or local:N.",
        rich_help_panel=MACHINE_PANEL,
    ),
]
Provider = Annotated[str, one_of("--provider", PROVIDERS, "Where models run.", MACHINE_PANEL)]
Arithmetic = Annotated[
    str, one_of("--arithmetic", ARITHMETICS, "What linear algebra is done with.", MACHINE_PANEL)
]
Seed = Annotated[
    int,
    typer.Option("--seed", help="For everything that is drawn.", rich_help_panel=METHOD_PANEL),
]
Out = Annotated[
    Path | None,
    typer.Option("-o", "--out", help="Default: MODEL.slim.onnx.", rich_help_panel=OUTPUT_PANEL),
]
PlanOut = Annotated[
    Path | None, typer.Option(help="Write the plan here.", rich_help_panel=OUTPUT_PANEL)
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
        help="Bytes that the run may take, e.g. 4G; if not given, three quarters of what is free.",
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


def beside(model: Path) -> Path:
    """Where the result goes if nobody says: MODEL.slim.onnx."""
    return model.with_name(f"{model.stem}.slim.onnx")


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a run may take.

    Attributes:
        memory: bytes; None for the default.
        seconds: None for no limit.
    """

    memory: int | None = None
    seconds: float | None = None


def allowance(max_memory: MaxMemory = None, max_time: MaxTime = None) -> Allowance:
    """What a run may take, by what was typed.

    Raises:
        UsageError: that is no size, or no time.
    """
    if max_time is not None and not 0 < max_time < math.inf:
        raise UsageError(f"--max-time {max_time:g}: expected a positive number of seconds")
    return Allowance(None if max_memory is None else options.memory(max_memory), max_time)


LimitOptions = Annotated[Allowance, Gathered(allowance)]


def keep_within(limits: Allowance) -> None:
    """Hold the process to what it may take."""
    if limits.memory is not None:
        limit_memory(limits.memory)
    if limits.seconds is not None:
        limit_seconds(limits.seconds)
