"""The process that works: what it tells the one that watches, and within what it works."""

from __future__ import annotations

import os
from contextlib import suppress

from onnxslim_snacs.cli.guard import DONE, HEEDS, KEPT, SECONDS, WRITING
from onnxslim_snacs.errors import UsageError
from onnxslim_snacs.model.bounds import default_memory
from onnxslim_snacs.model.pages import keep_pages
from onnxslim_snacs.model.patience import end_overlong_runs

#: The pipe to the process that watches; empty where there is none.
_wires: list[int] = []


def watched_by(wire: int | None) -> None:
    """This process is watched from now on, and keeps within limits."""
    if wire is None:
        return
    _wires.append(wire)
    end_overlong_runs()
    limit_memory(default_memory())
    keep_pages()


def is_watched() -> bool:
    """Whether another process watches over this one."""
    return bool(_wires)


def writes() -> None:
    """The outputs are written from now on: this is not to be ended."""
    _tell(WRITING)


def heeds_interrupts() -> None:
    """The first SIGINT arrives here as SIGUSR1 from now on, and the second one ends the run."""
    _tell(HEEDS)


def keeps(text: str) -> None:
    """Say what is left of the run if a signal ends it."""
    _tell(KEPT + b" " + " ".join(text.split()).encode("utf-8", "backslashreplace"))


def is_done() -> None:
    """The run ends by itself, with a code that can be relied on."""
    _tell(DONE)


def limit_seconds(seconds: float) -> None:
    """Let the run end with exit code 7 after so many seconds.

    Raises:
        UsageError: the system has no means for that.
    """
    if not hasattr(os, "fork"):
        raise UsageError("--max-time is not available on this system")
    _tell(SECONDS + b" %r" % seconds)


def limit_memory(size: int) -> None:
    """Let allocations fail beyond so many bytes, files that are mapped for reading not counted."""
    if not _wires:
        return
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    with suppress(ValueError, OSError):  # a stricter limit holds already
        resource.setrlimit(resource.RLIMIT_DATA, (size, hard))


def _tell(line: bytes) -> None:
    for wire in _wires:
        with suppress(OSError):  # whoever watched is gone, and so will this process be
            os.write(wire, line + b"\n")
