"""How long a single run of a model on a few small samples may take, and how much a look at one.

A loop without end runs inside of one call of ONNX Runtime, where no exception arrives.  A process
that somebody watches over may be ended by an alarm, and its limits may be changed; those of any
other one may not, for it is not ours.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: Seconds that a run may take, and bytes of weights for each of which there is one more: a run
#: that honest work needs is a hundred times shorter.
LONGEST, WEIGHED = 120.0, 1e7

_state = {"may_end": False}


def end_overlong_runs() -> None:
    """From now on a run that takes too long ends this process, by SIGALRM."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    _state["may_end"] = True


@contextmanager
def patience(weights: int) -> Iterator[None]:
    """Within the block the process is ended when a run takes too long, if it may be.

    Args:
        weights: bytes of the model's weights.
    """
    if not _state["may_end"]:
        yield
        return
    signal.setitimer(signal.ITIMER_REAL, LONGEST + weights / WEIGHED)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)


@contextmanager
def modesty(size: int) -> Iterator[None]:
    """Within the block the process is given at most so many bytes more, if it may be held to that.

    Args:
        size: bytes, of which every ask beyond fails as if there were no memory.
    """
    status = Path("/proc/self/status")
    if not _state["may_end"] or not status.exists():
        yield
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    taken = re.search(r"VmData:\s+(\d+) kB", status.read_text())
    most = size + 1024 * int(taken[1]) if taken else resource.RLIM_INFINITY
    if soft != resource.RLIM_INFINITY:
        most = soft if most == resource.RLIM_INFINITY else min(soft, most)
    resource.setrlimit(resource.RLIMIT_DATA, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
