"""The main command: options in, one call of the library, what happened out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from onnxslim_snacs.cli import options
from onnxslim_snacs.cli.arguments import (
    DEFAULT,
    Force,
    HtmlOut,
    Inexact,
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
from onnxslim_snacs.cli.config_file import Config, PrintConfig, write_config
from onnxslim_snacs.cli.data import DataOptions
from onnxslim_snacs.cli.panels import (
    BUDGET_PANEL,
    METHOD_PANEL,
    OUTPUT_PANEL,
    criteria_names,
    one_of,
)
from onnxslim_snacs.cli.showing import ShowingOptions, show, warn_without_data
from onnxslim_snacs.cli.signals import (
    heed_interrupts,
    told_of_writing,
)
from onnxslim_snacs.cli.terminal import (
    write_stdout,
)
from onnxslim_snacs.config import (
    ALLOCATIONS,
    RECOVER,
    WIDTHS,
    CompressConfig,
)
from onnxslim_snacs.errors import (
    UsageError,
)


def compress(
    model: Model,
    *,
    data: DataOptions,
    target: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE",
            help="Share to KEEP of params, macs, bytes or latency, e.g. macs=0.5 (repeatable).",
            rich_help_panel=BUDGET_PANEL,
        ),
    ] = None,
    ratio: Annotated[
        float | None,
        typer.Option(
            help="Remove this share of the units of every group.", rich_help_panel=BUDGET_PANEL
        ),
    ] = None,
    auto: Annotated[
        bool,
        typer.Option(
            "--auto",
            help="Remove what --max-drop tolerates (the default).",
            rich_help_panel=BUDGET_PANEL,
        ),
    ] = False,
    max_drop: Annotated[
        float | None,
        typer.Option(
            help="Tolerated drop for --auto; 0.01 if not given.", rich_help_panel=BUDGET_PANEL
        ),
    ] = None,
    judge: Annotated[
        str | None,
        typer.Option(
            metavar="module:function",
            help="What --max-drop is about: a function of yours from the bytes of a model to a "
            "number, the larger the better (recall, mAP, -WER).",
            rich_help_panel=BUDGET_PANEL,
        ),
    ] = None,
    allow_slower: Annotated[
        bool,
        typer.Option(
            "--allow-slower",
            help="With --target latency: write it in any case.",
            rich_help_panel=BUDGET_PANEL,
        ),
    ] = False,
    criterion: Annotated[
        str,
        typer.Option(
            help="What orders units: see `snacs-onnx criteria`.",
            autocompletion=criteria_names,
            rich_help_panel=METHOD_PANEL,
        ),
    ] = DEFAULT.criterion,
    allocation: Annotated[
        str,
        one_of(
            "--allocation",
            ALLOCATIONS,
            "How groups share the cut: by measured curves, all the same, or by scores.",
            METHOD_PANEL,
        ),
    ] = DEFAULT.allocation,
    tries: Annotated[
        int,
        typer.Option(
            help="With --target: allocations that are recovered and compared.",
            rich_help_panel=METHOD_PANEL,
        ),
    ] = DEFAULT.tries,
    option: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE",
            help="An option of the criterion, see `snacs-onnx criteria` (repeatable).",
            rich_help_panel=METHOD_PANEL,
        ),
    ] = None,
    recover: Annotated[
        str, one_of("--recover", RECOVER, "How what is left is re-fitted.", METHOD_PANEL)
    ] = DEFAULT.recover,
    blocks: Annotated[
        bool,
        typer.Option("--blocks", help="Drop whole blocks as well: residual branches and the like."),
    ] = False,
    block_order: Annotated[
        str,
        typer.Option(
            help="In which order they go: error (measured), energy or correlation (statistics)."
        ),
    ] = DEFAULT.block_order,
    drop: Annotated[
        int | None, typer.Option(metavar="N", help="With --blocks: how many of them go.")
    ] = None,
    finetune: Annotated[
        float | None,
        typer.Option(
            metavar="MINUTES", help="Train what is left by the original; Ctrl-C keeps the best."
        ),
    ] = None,
    allow_inexact: Inexact = False,
    width: Annotated[
        str,
        one_of(
            "--width",
            WIDTHS,
            "The width of transformers: it stays, norms are re-fitted, or streams are rotated.",
            METHOD_PANEL,
        ),
    ] = DEFAULT.width,
    simplify: Annotated[
        bool,
        typer.Option(
            "--simplify",
            help="Let onnxslim fold and fuse the model first, proved to be the same.",
            rich_help_panel=METHOD_PANEL,
        ),
    ] = False,
    protect: Annotated[
        list[str] | None,
        typer.Option(
            metavar="GLOB",
            help="Nodes or tensors that keep all (repeatable).",
            rich_help_panel=BUDGET_PANEL,
        ),
    ] = None,
    multiple_of: Annotated[
        str,
        typer.Option(
            metavar="N|auto",
            help="Round kept channels up to multiples; auto: those that this machine runs fastest.",
            rich_help_panel=BUDGET_PANEL,
        ),
    ] = "1",
    require: Annotated[
        list[str] | None,
        typer.Option(
            metavar="'NAME>=X'",
            help="Write nothing and end with code 8 unless the result has e.g. 'agreement>=0.98', "
            "'accuracy>=0.9', 'metric>=0.9', 'error<=0.1' (repeatable).",
            rich_help_panel=BUDGET_PANEL,
        ),
    ] = None,
    seed: Seed = DEFAULT.seed,
    threads: Threads = DEFAULT.threads,
    provider: Provider = DEFAULT.provider,
    out: Out = None,
    plan_out: Annotated[
        Path | None, typer.Option(help="Write the plan here.", rich_help_panel=OUTPUT_PANEL)
    ] = None,
    report: ReportOut = None,
    html: HtmlOut = None,
    limits: LimitOptions,
    metadata: Metadata = True,
    config_file: Config = None,
    print_config: PrintConfig = False,
    showing: ShowingOptions,
    force: Force = False,
) -> None:
    """Make a model smaller: score, plan, cut, prove, write."""
    keep_within(limits)
    if (target or ratio is not None) and (auto or max_drop is not None):
        raise UsageError("--auto and --max-drop exclude --target and --ratio")
    config = CompressConfig(
        data=data,
        target=options.targets(target),
        ratio=ratio,
        max_drop=DEFAULT.max_drop if max_drop is None else max_drop,
        allow_slower=allow_slower,
        criterion=criterion,
        allocation=allocation,
        tries=tries,
        options=options.settings(option),
        recover=recover,
        blocks=blocks,
        block_order=block_order,
        drop=drop,
        finetune=finetune,
        allow_inexact=allow_inexact,
        width=width,
        protect=tuple(protect or ()),
        multiple_of=options.multiple(multiple_of),
        seed=seed,
        threads=threads,
        provider=provider,
        metric=judge,
        simplify=simplify,
        require=tuple(require or ()),
        metadata=metadata,
    )
    if print_config:
        write_stdout(write_config(config))
        return
    from onnxslim_snacs.commands.compress import compress as make_smaller

    warn_without_data(data.path, showing)
    with progress_bars(showing) as bars:
        make_smaller(
            model,
            config,
            out=out or beside(model),
            plan_out=plan_out,
            report_out=report,
            html_out=html,
            overwrite=force,
            progress=told_of_writing(bars.progress),
            foreseen=bars.foresee,
            told=lambda done: show(done, showing, bars),
            heed=heed_interrupts,
        )
