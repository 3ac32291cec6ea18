"""How long a process lives that works for another one."""

from __future__ import annotations

import os
import signal
import sys


def die_with(parent: int) -> None:
    """Let this process be killed as soon as the one that it works for is gone.

    Elsewhere than on Linux it lives on, and ends when its work is done.

    Args:
        parent: the number of that process, as it was when this one was started.
    """
    if not sys.platform.startswith("linux"):
        return
    import ctypes

    set_death_signal = 1
    ctypes.CDLL(None).prctl(set_death_signal, signal.SIGKILL)
    if os.getppid() != parent:  # gone before the call
        os._exit(128 + signal.SIGKILL)
