"""How long a single run of a model on a few small samples may take.

A loop without end runs inside of one call of ONNX Runtime, where no exception arrives.  A process
that somebody watches over may be ended by an alarm; any other one may not, for it is not ours.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

#: Seconds: a run that honest work needs is a hundred times shorter.
LONGEST = 600.0

_state = {"may_end": False}


def end_overlong_runs() -> None:
    """From now on a run that takes too long ends this process, by SIGALRM."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    _state["may_end"] = True


@contextmanager
def patience(seconds: float = LONGEST) -> Iterator[None]:
    """Within the block the process is ended after so many seconds, if it may be."""
    if not _state["may_end"]:
        yield
        return
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
