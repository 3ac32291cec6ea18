"""The command line: parse, build a config, call the library once, print.

Heavy imports happen inside the commands, so that `--help` answers at once."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from onnxslim_snacs import __version__
from onnxslim_snacs.cli import comparing, cutting, exporting, looking, making, sweeping, tuning
from onnxslim_snacs.cli.option_groups import gathering
from onnxslim_snacs.cli.panels import EPILOG
from onnxslim_snacs.cli.signals import (
    begin,
    end_on_signals,
    ignore_signals,
)
from onnxslim_snacs.cli.terminal import (
    finish,
    guard_streams,
    screen,
)
from onnxslim_snacs.cli.worker import is_done, watched_by
from onnxslim_snacs.errors import (
    NO_MEMORY,
    NOT_ENOUGH,
    FileSystemError,
    LimitExceeded,
    SnacsError,
    foreign,
)

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    epilog=EPILOG,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Make trained networks physically smaller when all you have is the .onnx file."""


#: The commands, in the order of `--help`.
COMMANDS = (
    cutting.compress,
    making.released,
    sweeping.sweep,
    comparing.compare,
    tuning.finetune,
    making.rotate,
    looking.inspect,
    making.apply,
    exporting.export_plan,
    looking.verify,
    looking.bench,
    making.report,
    looking.criteria,
    looking.schema,
)
for command in COMMANDS:
    app.command(epilog=EPILOG)(gathering(command))


def main(wire: int | None = None) -> None:
    """Run, and end with the exit code that belongs to what happened.

    Args:
        wire: the pipe to the process that watches over this one, if any does.
    """
    if wire is None:
        end_on_signals()
    guard_streams()
    watched_by(wire)
    code = run(sys.argv[1:])
    # A signal while Python shuts down would kill the process, although the model is written.
    ignore_signals()
    is_done()
    sys.exit(code)


def run(arguments: Sequence[str]) -> int:
    """Run one command.

    Args:
        arguments: what was typed after the name of the program.

    Returns:
        The exit code; what went wrong is told in one line on stderr.
    """
    begin()
    try:
        code = _invoke(arguments)
        finish()
        return code
    except SnacsError as error:
        return _complain(f"error: {error}", error.exit_code)
    except MemoryError:
        return _complain(f"error: {NOT_ENOUGH}", LimitExceeded.exit_code)
    except OSError as error:
        what = f"{foreign(error.filename)}: " if error.filename else ""
        text = f"error: {what}{foreign(error.strerror or error)}"
        return _complain(text, FileSystemError.exit_code)
    except Exception as error:
        if any(text in str(error) for text in NO_MEMORY):  # no library's class for it is another's
            return _complain(f"error: {NOT_ENOUGH}", LimitExceeded.exit_code)
        if os.environ.get("SNACS_ONNX_DEBUG"):
            raise
        return _complain(
            f"internal error: {type(error).__name__}: {foreign(error)} "
            "(set SNACS_ONNX_DEBUG=1 for the traceback, and please report it)",
            1,
        )


def _invoke(arguments: Sequence[str]) -> int:
    """Typer ends every command by leaving the program; the code is all that is wanted of that."""
    try:
        app(list(arguments), prog_name="snacs-onnx")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def _complain(text: str, code: int) -> int:
    screen(stderr=True).print(text, markup=False, soft_wrap=True)
    return code
