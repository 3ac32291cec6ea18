"""What the command line shows and where: results on stdout, everything else on stderr."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console

from onnxslim_snacs.cli.guard import occupy_standard_streams
from onnxslim_snacs.errors import FileSystemError, visible

if TYPE_CHECKING:
    from rich.text import Text

#: Columns where the output goes into a file or a pipe, which have no width of their own.
_WIDTH = 140


class _Screen(Console):
    """A console whose reader may leave: the work goes on, and the rest is not shown.

    It shows what a terminal would obey: whatever a message is made of, no part of it can hide or
    move another one.
    """

    def render_str(self, text: str, **options: Any) -> Text:
        """The text with everything escaped that does not show."""
        return super().render_str(visible(text, but="\n\t"), **options)

    def on_broken_pipe(self) -> None:
        """Stop writing; rich would end the program."""
        self.quiet = True
        _discard(self.file.fileno())

    def print(self, *objects: Any, **options: Any) -> None:
        """Print; without an error stream the work goes on, and without a result it does not.

        Raises:
            FileSystemError: what was shown has not arrived (a full disk).
        """
        try:
            super().print(*objects, **options)
        except OSError as error:
            self.on_broken_pipe()
            if not self.stderr:
                raise _lost(error) from error


def screen(*, stderr: bool = False) -> Console:
    """A console for stdout or stderr; text of models is printed as it stands."""
    stream = sys.stderr if stderr else sys.stdout
    wide = stream is not None and (stream.isatty() or "COLUMNS" in os.environ)
    return _Screen(
        stderr=stderr, width=None if wide else _WIDTH, highlight=False, emoji=False, soft_wrap=False
    )


def write_stdout(text: str) -> None:
    """Write a document to stdout; whoever reads it may leave before its end."""
    with _arriving():
        sys.stdout.write(text)
        sys.stdout.flush()


def finish() -> None:
    """Make sure that what was shown has arrived.

    Raises:
        FileSystemError: it has not (a full disk).
    """
    with _arriving():
        sys.stdout.flush()


@contextmanager
def _arriving() -> Iterator[None]:
    """Let a reader of stdout leave; that it cannot be written to is an error."""
    try:
        yield
    except BrokenPipeError:
        _discard(sys.stdout.fileno())
    except OSError as error:
        _discard(sys.stdout.fileno())
        raise _lost(error) from error


def guard_streams() -> None:
    """Let what is written to a standard stream that is closed go nowhere, and escape the rest."""
    occupy_standard_streams()
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        else:
            stream.reconfigure(errors="backslashreplace")


def _lost(error: OSError) -> FileSystemError:
    return FileSystemError(f"the output cannot be written ({error.strerror})")


def _discard(descriptor: int) -> None:
    """Send what is still to be written nowhere, so that closing the stream does not fail."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, descriptor)
    os.close(devnull)
