"""How signals end a run that no other process watches over, and when none may.

Where one does (see `guard`), this process never sees them.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from threading import Event, Timer
from types import FrameType

from onnxslim_snacs.cli.worker import heeds_interrupts, is_watched, writes
from onnxslim_snacs.errors import Ended
from onnxslim_snacs.progress import Progress

Handler = Callable[[int, FrameType | None], None] | signal.Handlers

#: Set from the moment in which the outputs are written: ending then is quicker than undoing it,
#: and a run that says that it has failed must not have changed anything.
_writing = Event()


def begin() -> None:
    """A run starts, and nothing has been written."""
    _writing.clear()


def told_of_writing(progress: Progress) -> Progress:
    """The same progress; from its last stage on, signals wait for the end."""

    def update(stage: str, done: int, total: int) -> None:
        if stage == "write":
            _writing.set()
            writes()
        progress(stage, done, total)

    return update


def heed_interrupts() -> Callable[[], bool]:
    """Let the first Ctrl-C ask the work to come to an end; the second one ends it.

    Returns:
        Whether it was asked to.
    """
    asked = Event()

    def note(number: int, frame: FrameType | None) -> None:
        if asked.is_set() and number == signal.SIGINT:
            _terminated(number, frame)
        asked.set()

    if is_watched():
        signal.signal(signal.SIGUSR1, note)
        heeds_interrupts()
    else:
        signal.signal(signal.SIGINT, note)
    return asked.is_set


def end_on_signals() -> None:
    """Let signals end the program with 128 and their number."""
    _handle(_terminated)
    sys.unraisablehook = _unraisable


def ignore_signals() -> None:
    """Let signals do nothing any more."""
    _handle(signal.SIG_IGN)


def _handle(handler: Handler) -> None:
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), handler)


def _terminated(number: int, frame: FrameType | None) -> None:
    if not _writing.is_set():
        raise Ended(128 + number)


def _unraisable(lost: sys.UnraisableHookArgs) -> None:
    """Send a signal again that came while an object was finalised, where its exception is lost."""
    ended = lost.exc_value
    if not isinstance(ended, Ended) or not isinstance(ended.code, int):
        sys.__unraisablehook__(lost)
        return
    seconds = 0.01
    while True:
        try:
            Timer(seconds, os.kill, (os.getpid(), ended.code - 128)).start()
            return
        except Ended:  # on a busy machine it is back before this function is left: lost again
            seconds *= 4
