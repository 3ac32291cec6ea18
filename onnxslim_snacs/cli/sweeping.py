"""Many runs at once: patterns and lists in, one call of the library, a table out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from onnxslim_snacs.cli import options
from onnxslim_snacs.cli.arguments import (
    DEFAULT,
    HtmlOut,
    Inexact,
    LimitOptions,
    Provider,
    Seed,
    Threads,
    keep_within,
)
from onnxslim_snacs.cli.bars import progress_bars
from onnxslim_snacs.cli.data import data_config
from onnxslim_snacs.cli.method_options import Tries
from onnxslim_snacs.cli.option_groups import Gathered
from onnxslim_snacs.cli.panels import (
    BUDGET_PANEL,
    DATA_PANEL,
    MACHINE_PANEL,
    METHOD_PANEL,
    OUTPUT_PANEL,
    criteria_names,
    one_of,
)
from onnxslim_snacs.cli.showing import ShowingOptions
from onnxslim_snacs.cli.terminal import finish, screen, write_stdout
from onnxslim_snacs.cli.worker import keeps
from onnxslim_snacs.config import (
    ALLOCATIONS,
    RECOVER,
    Budget,
    CompressConfig,
    DataConfig,
    Drop,
    Goal,
    Ratio,
)
from onnxslim_snacs.errors import foreign

_DataOfEach = Annotated[
    str | None,
    typer.Option(
        "--data",
        metavar="PATH",
        help="As for compress; {stem} and {folder} stand for the model's name and folder.",
        rich_help_panel=DATA_PANEL,
    ),
]


def sweep(
    models: Annotated[
        list[str],
        typer.Argument(metavar="MODELS...", help="Files, folders, or patterns in quotes."),
    ],
    *,
    out: Annotated[
        Path,
        typer.Option("-o", "--out", help="Folder of the results.", rich_help_panel=OUTPUT_PANEL),
    ],
    data: Annotated[DataConfig, Gathered(data_config, {"data": _DataOfEach})],
    target: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE[,...]",
            help="A budget, e.g. macs=0.5 or macs=0.5,bytes=0.4; each option is runs of its own.",
            rich_help_panel=BUDGET_PANEL,
        ),
    ] = None,
    ratio: Annotated[
        list[float] | None,
        typer.Option(
            help="A share of all units to remove (repeatable).", rich_help_panel=BUDGET_PANEL
        ),
    ] = None,
    max_drop: Annotated[
        list[float] | None,
        typer.Option(help="A drop that is tolerated (repeatable).", rich_help_panel=BUDGET_PANEL),
    ] = None,
    criterion: Annotated[
        list[str] | None,
        typer.Option(
            help="See `snacs-onnx criteria` (repeatable).",
            autocompletion=criteria_names,
            rich_help_panel=METHOD_PANEL,
        ),
    ] = None,
    allocation: Annotated[
        str, one_of("--allocation", ALLOCATIONS, "How groups share the cut.", METHOD_PANEL)
    ] = DEFAULT.allocation,
    tries: Tries = DEFAULT.tries,
    recover: Annotated[
        str, one_of("--recover", RECOVER, "Re-fit what is left.", METHOD_PANEL)
    ] = DEFAULT.recover,
    allow_inexact: Inexact = False,
    jobs: Annotated[
        int,
        typer.Option(
            "-j",
            "--jobs",
            min=1,
            max=256,
            help="Runs at a time on this machine.",
            rich_help_panel=MACHINE_PANEL,
        ),
    ] = 1,
    cluster: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Instead: a Dask scheduler's address, or local:N.",
            rich_help_panel=MACHINE_PANEL,
        ),
    ] = None,
    seed: Seed = DEFAULT.seed,
    threads: Threads = 1,
    provider: Provider = DEFAULT.provider,
    limits: LimitOptions,
    html: HtmlOut = None,
    showing: ShowingOptions,
) -> None:
    """Compress many models to many budgets by many criteria; goes on where it was interrupted."""
    keep_within(limits)
    goals: list[Goal] = [
        *(Budget(options.targets(text.split(","))) for text in target or ()),
        *(Ratio(share) for share in ratio or ()),
        *(Drop(most) for most in max_drop or ()),
    ]
    config = CompressConfig(
        data=data,
        allocation=allocation,
        tries=tries,
        recover=recover,
        allow_inexact=allow_inexact,
        seed=seed,
        threads=threads,
        provider=provider,
    )
    from onnxslim_snacs.commands.render import put_page
    from onnxslim_snacs.commands.sweep import ending
    from onnxslim_snacs.commands.sweep import sweep as run_all
    from onnxslim_snacs.model.targets import check_targets
    from onnxslim_snacs.report.grid import print_rows, rows_to_json
    from onnxslim_snacs.report.tables_page import rows_page

    if html is not None:  # like the tables in the folder, it is written anew by each call
        check_targets((html,), (), overwrite=True)

    keeps(f"the runs that are done lie in {foreign(out)}, and the same command goes on from there")
    with progress_bars(showing) as bars:
        rows = run_all(
            models,
            config,
            out=out,
            goals=goals,
            criteria=criterion or (),
            jobs=jobs,
            cluster=cluster,
            progress=bars.progress,
        )
    if html is not None:
        put_page(rows_page(rows), html)
    if showing.json:
        write_stdout(rows_to_json(rows))
    else:
        print_rows(rows, screen())
    finish()
    raise typer.Exit(ending(rows))
