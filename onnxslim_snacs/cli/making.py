"""Further commands that write a model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from onnxslim_snacs.cli import options
from onnxslim_snacs.cli.arguments import (
    DEFAULT,
    RELEASED,
    Force,
    HtmlOut,
    LimitOptions,
    Metadata,
    Model,
    Out,
    Provider,
    ReportOut,
    Seed,
    Threads,
    beside,
    keep_within,
)
from onnxslim_snacs.cli.bars import progress_bars
from onnxslim_snacs.cli.data import DataOptions, data_config
from onnxslim_snacs.cli.option_groups import Gathered
from onnxslim_snacs.cli.panels import one_of
from onnxslim_snacs.cli.showing import Json, ShowingOptions, show, warn_without_data
from onnxslim_snacs.cli.signals import (
    told_of_writing,
)
from onnxslim_snacs.cli.terminal import (
    finish,
    screen,
    write_stdout,
)
from onnxslim_snacs.config import RECOVER, DataConfig, ReleasedConfig
from onnxslim_snacs.config.checks import MOST_THREADS
from onnxslim_snacs.errors import UsageError, foreign
from onnxslim_snacs.progress import silent

if TYPE_CHECKING:
    from onnxslim_snacs.commands.turned import Turned


def released(
    model: Model,
    *,
    out: Out = None,
    data: DataOptions,
    target: Annotated[
        list[str] | None,
        typer.Option(metavar="params=SHARE", help="Share of the connections' weights to KEEP."),
    ] = None,
    max_drop: Annotated[
        float | None, typer.Option(help="Without a target: the tolerated drop; 0.01 if not given.")
    ] = None,
    groups: Annotated[
        int | None, typer.Option(help="Filter groups per layer instead of single filters.")
    ] = None,
    phi: Annotated[
        str, typer.Option(help="What scores are scaled by: weight, one, act, exp_weight, ...")
    ] = RELEASED.phi,
    save: Annotated[
        float, typer.Option(help="Share of each layer's filters that its sensitivity protects.")
    ] = RELEASED.save,
    seed: Seed = RELEASED.seed,
    threads: Threads = RELEASED.threads,
    provider: Provider = RELEASED.provider,
    report: ReportOut = None,
    html: HtmlOut = None,
    limits: LimitOptions,
    showing: ShowingOptions,
    force: Force = False,
) -> None:
    """SNACS by the formulas of its authors' code: connections become zero."""
    keep_within(limits)
    wanted = options.targets(target)
    if set(wanted) - {"params"}:
        raise UsageError(f"--target {' '.join(wanted)}: `released` knows params alone")
    if target and max_drop is not None:
        raise UsageError("--max-drop excludes --target")
    config = ReleasedConfig(
        data=data,
        params=wanted.get("params"),
        max_drop=RELEASED.max_drop if max_drop is None else max_drop,
        groups=groups,
        phi=phi,
        save=save,
        seed=seed,
        threads=threads,
        provider=provider,
    )
    from onnxslim_snacs.commands.released import compress_as_released

    warn_without_data(data.path, showing)
    with progress_bars(showing) as bars:
        compress_as_released(
            model,
            config,
            out=out or beside(model),
            report_out=report,
            html_out=html,
            overwrite=force,
            progress=told_of_writing(bars.progress),
            told=lambda done: show(done, showing, bars),
        )


def rotate(
    model: Model,
    *,
    data: Annotated[DataConfig, Gathered(data_config, required=("data",))],
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="Default: MODEL.rotated.onnx.")
    ] = None,
    seed: Seed = DEFAULT.seed,
    threads: Threads = 1,
    provider: Provider = DEFAULT.provider,
    json: Json = False,
    force: Force = False,
) -> None:
    """Turn residual streams into principal components, so that the width of a model can be cut."""
    from onnxslim_snacs.commands.turned import rotate_file, width_notes
    from onnxslim_snacs.report import to_json

    place = out or model.with_name(f"{model.stem}.rotated.onnx")

    def told(turned: Turned) -> None:
        if json:
            write_stdout(to_json({"output": str(place), **width_notes(turned)}))
        else:
            _print_turned(turned)
        finish()

    rotate_file(
        model,
        data,
        out=place,
        overwrite=force,
        provider=provider,
        threads=threads,
        seed=seed,
        progress=told_of_writing(silent),
        told=told,
    )


def _print_turned(turned: Turned) -> None:
    for stream in turned.streams:
        screen().print(
            f"a stream of {stream.width} channels behind {stream.norms} normalisations: "
            "{} / {} / {} of them carry 90 / 99 / 99.9 %".format(*stream.carried)
        )
    screen().print(f"max relative difference {turned.difference:.2g}, allowed {turned.allowed:.2g}")


_DataAgain = Annotated[
    str | None,
    typer.Option(
        "--data",
        metavar="PATH",
        help="The samples of `compress`, to re-fit what is left again as the plan says.",
    ),
]


def apply(
    model: Model,
    plan: Annotated[Path, typer.Argument(metavar="PLAN.json", help="The plan.")],
    *,
    out: Out = None,
    data: Annotated[DataConfig, Gathered(data_config, {"data": _DataAgain})],
    recover: Annotated[
        str, one_of("--recover", RECOVER, "auto: as the plan says; none: the raw cut.")
    ] = DEFAULT.recover,
    threads: Annotated[
        int | None,
        typer.Option(
            "--threads",
            min=1,
            max=MOST_THREADS,
            help="Threads of ONNX Runtime; the plan's if not given.",
        ),
    ] = None,
    report: ReportOut = None,
    html: HtmlOut = None,
    metadata: Metadata = True,
    limits: LimitOptions,
    showing: ShowingOptions,
    force: Force = False,
) -> None:
    """Replay a plan: the same file, byte for byte, with the same data and threads."""
    keep_within(limits)
    from onnxslim_snacs.commands.apply import apply_plan

    with progress_bars(showing) as bars:
        apply_plan(
            model,
            plan,
            out=out or beside(model),
            report_out=report,
            html_out=html,
            overwrite=force,
            data=data,
            recover=recover,
            threads=threads,
            metadata=metadata,
            progress=told_of_writing(bars.progress),
            told=lambda done: show(done, showing, bars),
        )


def report(
    report: Annotated[
        Path,
        typer.Argument(
            metavar="REPORT.json",
            help="What --report wrote; or of `compare` report.json, of `sweep` summary.json.",
        ),
    ],
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Default: REPORT.html.")] = None,
    force: Force = False,
) -> None:
    """What compress, finetune, compare or sweep wrote, as a page for any browser: one file."""
    from onnxslim_snacs.commands.render import write_page

    place = out or report.with_suffix(".html")
    write_page(report, place, overwrite=force)
    screen().print(f"written: {escape(foreign(place))}", soft_wrap=True)
