"""The command that compares."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from onnxslim_snacs.cli import options
from onnxslim_snacs.cli.arguments import (
    Force,
    HtmlOut,
    LimitOptions,
    Model,
    Provider,
    Seed,
    Threads,
    keep_within,
)
from onnxslim_snacs.cli.bars import progress_bars
from onnxslim_snacs.cli.data import DataOptions
from onnxslim_snacs.cli.showing import ShowingOptions, warn_without_data
from onnxslim_snacs.cli.signals import told_of_writing
from onnxslim_snacs.cli.terminal import screen, write_stdout
from onnxslim_snacs.config.comparison import CompareConfig

_DEFAULT = CompareConfig()


def compare(
    model: Model,
    *,
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", help="Folder of the results. Default: MODEL.compare."),
    ] = None,
    data: DataOptions,
    test: Annotated[
        list[str] | None,
        typer.Option(metavar="PATH", help="Further samples to judge results by (repeatable)."),
    ] = None,
    target: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=SHARE[,...]", help="A budget, as of `compress` (repeatable: another one)."
        ),
    ] = None,
    criteria: Annotated[
        str | None,
        typer.Option(
            metavar="NAME[:OPTION=VALUE],...",
            help="Which criteria; all but mint (slow) by default.",
        ),
    ] = None,
    recover: Annotated[
        str, typer.Option(metavar="HOW,...", help="Ways to recover accuracy, as of `compress`.")
    ] = ",".join(_DEFAULT.recover),
    seeds: Annotated[int, typer.Option(help="How often `random` is drawn.")] = _DEFAULT.seeds,
    repeats: Annotated[
        int, typer.Option(help="How often each other criterion runs, with other seeds.")
    ] = _DEFAULT.repeats,
    damage: Annotated[
        bool,
        typer.Option(help="Hold scores against what taking single units away costs."),
    ] = _DEFAULT.damage,
    tries: Annotated[
        int, typer.Option(help="Allocations that are recovered and compared, as of `compress`.")
    ] = _DEFAULT.tries,
    seed: Seed = _DEFAULT.seed,
    threads: Threads = _DEFAULT.threads,
    provider: Provider = _DEFAULT.provider,
    limits: LimitOptions,
    html: HtmlOut = None,
    showing: ShowingOptions,
    force: Force = False,
) -> None:
    """Criteria, budgets and recoveries side by side; what is in the folder is not done again."""
    keep_within(limits)
    config = CompareConfig(
        data=data,
        tests=tuple(test or ()),
        targets=tuple(options.targets(text.split(",")) for text in target)
        if target
        else _DEFAULT.targets,
        criteria=_listed(criteria),
        recover=_listed(recover),
        seeds=seeds,
        repeats=repeats,
        damage=damage,
        tries=tries,
        seed=seed,
        threads=threads,
        provider=provider,
    )
    from onnxslim_snacs.commands.compare import compare as run
    from onnxslim_snacs.commands.render import put_page
    from onnxslim_snacs.model.targets import check_targets
    from onnxslim_snacs.report import to_json
    from onnxslim_snacs.report.tables_page import trials_page
    from onnxslim_snacs.report.trial_tables import print_trials

    warn_without_data(data.path, showing)
    if html is not None:
        check_targets((html,), (model,), overwrite=force)
    folder = out or model.with_name(f"{model.stem}.compare")
    with progress_bars(showing) as bars:
        done = run(
            model, config, out=folder, overwrite=force, progress=told_of_writing(bars.progress)
        )
    if html is not None:
        put_page(trials_page(done), html)
    if showing.json:
        write_stdout(to_json(done))
    else:
        print_trials(done, screen())


def _listed(text: str | None) -> tuple[str, ...]:
    """What stands between commas."""
    return tuple(part.strip() for part in (text or "").split(",") if part.strip())
