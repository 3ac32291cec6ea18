"""How many cores there are to work with."""

from __future__ import annotations

import os
from contextlib import suppress
from functools import cache
from pathlib import Path

_CPUS = Path("/sys/devices/system/cpu")
_QUOTA = Path("/sys/fs/cgroup/cpu.max")


@cache
def physical_cores() -> int:
    """Cores that this process may use: those of a processor that runs two threads each count once.

    Within a container no more than it is granted.
    """
    usable = getattr(os, "sched_getaffinity", None)
    cpus = sorted(usable(0)) if usable else list(range(os.cpu_count() or 1))
    cores = len({_siblings(cpu) for cpu in cpus})
    return max(1, min(cores, granted(_QUOTA)))


def granted(quota: Path) -> int:
    """Cores that a control group may use at a time; a large number where nothing is said.

    Args:
        quota: the file that says it: microseconds, of so many; or "max".
    """
    with suppress(OSError, ValueError):
        share, period = quota.read_text().split()
        return max(1, int(share) // int(period))
    return 1 << 30


def _siblings(cpu: int) -> str:
    """What is the same for all threads of a core; where nobody tells, each is a core of its own."""
    with suppress(OSError):
        return (_CPUS / f"cpu{cpu}" / "topology" / "thread_siblings_list").read_text()
    return str(cpu)
