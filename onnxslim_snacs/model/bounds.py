"""Bounds within which an untrusted model is worked on."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Limits:
    """What a model may ask for before any library sees it.

    Attributes:
        nodes: nodes of the file, bodies of control flow included.
        function_nodes: nodes that the calls of local functions expand to.  ONNX Runtime and shape
            inference expand every call, so that 2.5 kB of functions can ask for 2^39 nodes; their
            time at 20,000 is a few seconds.
        elements: elements of one tensor that the graph makes out of its shape alone (an input with
            fixed dimensions, ConstantOfShape, Expand): as many as a number of 32 bits counts.
        turns: turns of a loop that only their number ends, those of loops around it multiplied.
    """

    nodes: int = 150_000
    function_nodes: int = 20_000
    elements: int = 2**31 - 1
    turns: int = 10**7


DEFAULT_LIMITS = Limits()
#: Bytes of activations that a stage holds at a time, where there is room for them.  With a quarter
#: of that, second moments of a ResNet-50, which are added up run by run, take a seventh longer, and
#: the largest that the whole takes does not fall.
WORKING = 1 << 30
#: Of the free memory, what a run may take if nobody says otherwise; and what it may in any case.
_SHARE, _LEAST = 0.75, 2 << 30

#: Where control groups of version 2 and 1 say what they may take, and what they have taken.
_GROUPS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    (
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        "/sys/fs/cgroup/memory/memory.usage_in_bytes",
    ),
)


def default_memory() -> int:
    """Bytes that a run may take if nobody says otherwise.

    Three quarters of what is free, and never less than 2 GiB where there is twice as much in all:
    what other jobs hold for the moment shall not end a small one.
    """
    return max(int(_SHARE * available_memory()), min(_LEAST, whole_memory() // 2))


def whole_memory() -> int:
    """Bytes of memory that there are, in a container within its own bounds."""
    whole = [1 << 62]
    if hasattr(os, "sysconf"):
        whole.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    for most, _ in _GROUPS:
        with suppress(OSError, ValueError):  # "max" is no number: no bound
            whole.append(int(Path(most).read_text()))
    return min(whole)


def available_memory() -> int:
    """Bytes of memory that can be had without swapping, in a container within its own bounds."""
    free = [whole_memory()]
    with suppress(OSError):
        said = re.search(r"MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text())
        free += [1024 * int(said[1])] if said else []
    for most, taken in _GROUPS:
        with suppress(OSError, ValueError):
            held = int(Path(taken).read_text()) - _given_back(Path(taken).with_name("memory.stat"))
            free.append(int(Path(most).read_text()) - held)
    return max(0, min(free))


def _given_back(statistics: Path) -> int:
    """Bytes of files that a group keeps in memory and gives back when somebody asks for them."""
    said = re.search(r"^(?:total_)?inactive_file (\d+)$", statistics.read_text(), re.MULTILINE)
    return int(said[1]) if said else 0


#: The bound of the run that this process works for, in place of its own; empty if it is its own.
_told: list[int | None] = []


def bounded_as(bound: int | None) -> None:
    """Let runs be as large from now on as in a process with this bound (None for no bound)."""
    _told[:] = [bound]


def memory_bound() -> int | None:
    """Bytes beyond which the process is given no memory (`--max-memory`); None for no bound."""
    if _told:
        return _told[0]
    try:
        import resource
    except ImportError:  # not everywhere
        return None
    bound, _ = resource.getrlimit(resource.RLIMIT_DATA)
    return None if bound == resource.RLIM_INFINITY else int(bound)


def working_memory(most: int = WORKING) -> int:
    """Bytes that a stage may fill with activations: a quarter of the bound, and never more.

    A power of two, so that nearly the same bounds make the same batches.

    Args:
        most: what it may take where nothing is bound.
    """
    bound = memory_bound()
    return most if bound is None else min(most, 1 << max(0, (bound // 4).bit_length() - 1))
