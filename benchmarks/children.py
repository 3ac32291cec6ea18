"""Runs in processes of their own, forked from this one so that nothing is imported anew."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from signal import SIGKILL
from time import monotonic, sleep
from typing import Any


def child(work: Callable[[], int], limit: float) -> dict[str, Any]:
    """How a process ended that does some work, after how long, and the end of what it said."""
    start = monotonic()
    with tempfile.TemporaryFile("w+") as said:
        process = os.fork()
        if process == 0:
            os.dup2(said.fileno(), sys.stderr.fileno())
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            code = 1
            try:
                code = work()
            finally:
                sys.stderr.flush()
                os._exit(code)
        ended = _waited(process, start + limit)
        said.seek(0)
        text = " ".join(said.read().split())[-600:]
    seconds = round(monotonic() - start, 1)
    if ended is None:
        return {"exit": "time", "message": f"no result within {limit:g} s", "seconds": seconds}
    return {"exit": ended, "message": text, "seconds": seconds}


def _waited(process: int, until: float) -> int | None:
    """The exit code of a process, minus the signal that ended it; None if it was ended here."""
    while monotonic() < until:
        found, status = os.waitpid(process, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        sleep(0.05)
    os.kill(process, SIGKILL)
    os.waitpid(process, 0)
    return None
