"""How a command shows where it is, what it found, and what the user should know."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from onnxslim_snacs.cli.option_groups import Gathered
from onnxslim_snacs.cli.panels import OUTPUT_PANEL, one_of
from onnxslim_snacs.cli.terminal import finish, screen, write_stdout
from onnxslim_snacs.errors import foreign

if TYPE_CHECKING:
    from onnxslim_snacs.cli.bars import ProgressBars
    from onnxslim_snacs.commands.start import Compressed

MODES = ("auto", "plain", "json", "none")
ProgressMode = Annotated[
    str,
    one_of(
        "--progress",
        MODES,
        "How stderr shows where the run is; auto: a bar on a terminal, else a line for each stage.",
        OUTPUT_PANEL,
    ),
]
Quiet = Annotated[
    bool,
    typer.Option("-q", "--quiet", help="Nothing but errors.", rich_help_panel=OUTPUT_PANEL),
]
Verbose = Annotated[
    bool,
    typer.Option(
        "-v",
        "--verbose",
        help="Say what is measured within each stage.",
        rich_help_panel=OUTPUT_PANEL,
    ),
]
Json = Annotated[
    bool, typer.Option("--json", help="Write JSON to stdout.", rich_help_panel=OUTPUT_PANEL)
]


@dataclass(frozen=True, slots=True)
class Showing:
    """How a command is to show what it does.

    Attributes:
        mode: one of `MODES`.
        quiet: show nothing of the run but errors.
        verbose: show what happens within stages as well.
        json: the result as JSON, not as tables.
    """

    mode: str = "auto"
    quiet: bool = False
    verbose: bool = False
    json: bool = False


def showing(
    progress: ProgressMode = "auto",
    quiet: Quiet = False,
    verbose: Verbose = False,
    json: Json = False,
) -> Showing:
    """How to show it, by what was typed."""
    return Showing(progress, quiet, verbose, json)


ShowingOptions = Annotated[Showing, Gathered(showing)]


def show(done: Compressed, how: Showing, bars: ProgressBars) -> None:
    """Show the result, and make sure that it has arrived: its files come into their places then."""
    from onnxslim_snacs.report import print_report, to_json
    from onnxslim_snacs.report.make import NO_DATA  # told before the work
    from onnxslim_snacs.report.sentences import alarm

    bars.stop()
    said = alarm(done.report.drift)
    warn([text for text in done.report.warnings if text not in (NO_DATA, said)], how)
    if how.json:
        write_stdout(to_json(done.report))
    else:
        print_report(done.report, screen())
    finish()
    if said:
        screen(stderr=True).print(f"[bold white on red] {escape(said)} ", soft_wrap=True)


def warn(texts: Sequence[str], how: Showing) -> None:
    """Say on stderr what the user should know, unless he has asked for silence."""
    for text in () if how.quiet else texts:
        screen(stderr=True).print(
            f"[bold yellow]warning:[/bold yellow] {escape(foreign(text))}", soft_wrap=True
        )


def warn_without_data(path: str | None, how: Showing) -> None:
    """Say before the work that it goes by random inputs, if it does."""
    from onnxslim_snacs.report.make import NO_DATA

    if path is None:
        warn([NO_DATA], how)
