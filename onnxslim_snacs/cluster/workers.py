"""Processes that take tasks: this machine's own, or those of a Dask cluster; one interface."""

from __future__ import annotations

import logging
import multiprocessing
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from onnxslim_snacs.cluster.lifetime import die_with
from onnxslim_snacs.errors import UsageError

Task = TypeVar("Task")
Result = TypeVar("Result")

_LOCAL = re.compile(r"local:([1-9][0-9]{0,2})")
#: How long one waits for a scheduler before its address is taken for wrong.
_PATIENCE = "30s"


@dataclass(frozen=True, slots=True)
class Lost:
    """What came instead of a result: the process died that worked on it, each time.

    Attributes:
        reason: what is known of that.
    """

    reason: str


def run_on(
    address: str | None,
    jobs: int,
    function: Callable[[Task], Result],
    tasks: Sequence[Task],
) -> Iterator[tuple[int, Result | Lost]]:
    """Run a function on each of some tasks, every one in another process than this.

    A process that dies takes no task with it but its own, which is tried once more alone.

    Args:
        address: of a Dask scheduler, or `local:N` for a Dask cluster of N processes on this
            machine; None for `jobs` processes without Dask.
        jobs: how many tasks at a time, without an address.
        function: what is done with a task; to be found by its name in its module.
        tasks: what it is given; both they and the results travel between processes.

    Yields:
        (number of the task, its result), in the order in which they end.

    Raises:
        UsageError: there is no such scheduler, or Dask is not installed.
    """
    if address is None:
        yield from _on_processes(jobs, function, tasks)
        return
    with client_at(address) as client:
        executor = client.get_executor(pure=False)
        yield from _results(executor, function, dict(enumerate(tasks)))


def _on_processes(
    jobs: int, function: Callable[[Task], Result], tasks: Sequence[Task]
) -> Iterator[tuple[int, Result | Lost]]:
    left = dict(enumerate(tasks))
    with _processes(min(jobs, max(len(tasks), 1))) as executor:
        for number, result in _results(executor, function, left):
            if isinstance(result, Lost):  # whoever else was at work in that moment is lost, too
                continue
            del left[number]
            yield number, result
    for number, task in left.items():
        with _processes(1) as alone:
            for _, result in _results(alone, function, {number: task}):
                yield number, result


def _results(
    executor: Executor, function: Callable[[Task], Result], tasks: dict[int, Task]
) -> Iterator[tuple[int, Result | Lost]]:
    futures = {}
    for number, task in tasks.items():
        try:
            futures[executor.submit(function, task)] = number
        except BrokenProcessPool as error:
            yield number, Lost(str(error))
    for future in as_completed(futures):
        lost = future.exception()
        if lost is None:
            yield futures[future], future.result()
        elif is_loss(lost):
            yield futures[future], Lost("the process that worked on it died")
        else:
            raise lost


def is_loss(error: BaseException) -> bool:
    """Whether an error says that the process has died that worked on a task."""
    return isinstance(error, BrokenProcessPool) or type(error).__name__ == "KilledWorker"


@contextmanager
def _processes(jobs: int) -> Iterator[ProcessPoolExecutor]:
    begin = partial(_begin, os.getpid(), _memory_for(jobs))
    context = multiprocessing.get_context("spawn")  # a fork would share threads that are gone
    with ProcessPoolExecutor(jobs, context, begin) as pool:
        try:
            yield pool
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _memory_for(jobs: int) -> int | None:
    """The share that each of so many processes has of what this one may take; None for no limit."""
    if sys.platform == "win32":
        return None
    import resource

    limit, _ = resource.getrlimit(resource.RLIMIT_DATA)
    return None if limit == resource.RLIM_INFINITY else limit // jobs


def _begin(parent: int, memory: int | None) -> None:
    """Live no longer than who gives the work, and within a share of its memory."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all; the parent decides
    if memory is not None:
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (memory, hard))
    die_with(parent)


@contextmanager
def client_at(address: str) -> Iterator[Any]:
    """A client of a Dask cluster, while it is needed.

    Args:
        address: of a scheduler, or `local:N` for N processes on this machine.

    Raises:
        UsageError: there is no such scheduler, or Dask is not installed.
    """
    try:
        from distributed import Client, LocalCluster
    except ImportError as error:
        raise UsageError(
            f"--cluster {address} needs Dask: pip install 'onnxslim-snacs[cluster]'"
        ) from error
    local = _LOCAL.fullmatch(address)
    if local:
        with (
            LocalCluster(
                n_workers=int(local[1]),
                threads_per_worker=1,
                dashboard_address="127.0.0.1:0",
                silence_logs=logging.ERROR,
            ) as cluster,
            Client(cluster, direct_to_workers=True) as client,
        ):
            yield client
        return
    try:
        client = Client(address, timeout=_PATIENCE, direct_to_workers=True)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"--cluster {address}: no scheduler answers there ({error}); expected its address, "
            "such as tcp://HOST:8786, or local:N"
        ) from error
    with client:
        yield client
