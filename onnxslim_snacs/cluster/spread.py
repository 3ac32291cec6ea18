"""Tasks of one stage after the other, for processes that all know the same things."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from threading import Lock
from typing import Any, Protocol, TypeVar
from uuid import uuid4

from onnxslim_snacs.cluster.workers import client_at, is_loss
from onnxslim_snacs.errors import LimitExceeded, UsageError

Given = TypeVar("Given")
Task = TypeVar("Task")
Result = TypeVar("Result")

#: Tasks for each process that may be under way, or have results that wait for those before them.
_AHEAD = 2
#: What has to be the same everywhere, for results are to be.
_PACKAGES = ("onnxslim-snacs", "numpy", "onnx", "onnxruntime")
#: A process works on one task at a time, whatever Dask gives it.
_LOCK = Lock()


class Spread(Protocol):
    """Runs tasks somewhere else."""

    def __call__(
        self,
        opening: Callable[[Any, Given], Callable[[Task], Result]],
        given: Given,
        tasks: Iterable[Task],
    ) -> Iterator[Result]:
        """The results of some tasks, in their order; tasks are asked for as results are taken.

        Args:
            opening: called once in each process with what that knows and `given`; gives what is
                done with a task.  To be found by its name in its module.
            given: what all tasks have in common, which travels; a process that holds what was
                opened last for the same does not open it again.
            tasks: what each of them is, which travels as well.

        Raises:
            LimitExceeded: each process that tried a task has died.
        """


@contextmanager
def spread_over(address: str, begin: Callable[[], Any]) -> Iterator[Spread]:
    """Tasks are run by the workers of a Dask cluster.

    A worker that dies is replaced, if the cluster does that, and its task given to another one.

    Args:
        address: of a Dask scheduler, or `local:N`.
        begin: what each worker does first; it gives what the worker is to know.

    Raises:
        UsageError: there is no such scheduler, or Dask is not installed.
    """
    run = uuid4().hex
    with client_at(address) as client:
        from dask.base import tokenize

        def spread(opening: Any, given: Any, tasks: Iterable[Any]) -> Iterator[Any]:
            known = _Knowledge(run, begin)
            asked = tokenize(opening, given)  # the same question is opened once
            stage = _Stage(f"{run}-{asked}", known, opening, given, versions())
            yield from _in_order(client, stage, tasks)

        try:
            yield spread
        finally:
            with suppress(OSError):  # who cannot be reached any more holds nothing for us
                client.run(forget, on_error="ignore")


@dataclass(frozen=True)
class _Knowledge:
    """What a process is to know; the same key, the same thing."""

    key: str
    begin: Callable[[], Any] = field(compare=False)


@dataclass(frozen=True)
class _Stage:
    """What all tasks of a stage have in common; the same key, the same thing."""

    key: str
    known: _Knowledge = field(compare=False)
    opening: Callable[[Any, Any], Callable[[Any], Any]] = field(compare=False)
    given: Any = field(compare=False)
    versions: dict[str, str] = field(compare=False)


def _in_order(client: Any, stage: _Stage, tasks: Iterable[Any]) -> Iterator[Any]:
    threads = sum(client.nthreads().values())
    ahead = _AHEAD * max(1, threads)
    waiting: deque[Any] = deque()
    try:
        for task in tasks:
            waiting.append(client.submit(work, stage, task, pure=False))
            if len(waiting) >= ahead:
                yield _result(waiting.popleft())
        while waiting:
            yield _result(waiting.popleft())
    finally:
        client.cancel(list(waiting))


def _result(future: Any) -> Any:
    try:
        return future.result()
    except Exception as error:
        if is_loss(error):
            raise LimitExceeded(
                "--cluster: the workers die that are given a task, each time (they may have too "
                "little memory)"
            ) from error
        raise


def work(stage: _Stage, task: Any) -> Any:
    """Do a task, in the process that is to do it."""
    with _LOCK:
        return _opened(stage)(task)


def forget() -> None:
    """Give back what this process knows."""
    with _LOCK:
        _opened.cache_clear()
        _known.cache_clear()


@lru_cache(maxsize=1)
def _opened(stage: _Stage) -> Callable[[Any], Any]:
    here = versions()
    if here != stage.versions:
        raise UsageError(
            f"--cluster: a worker has {_listed(here)}, expected {_listed(stage.versions)} as here"
        )
    return stage.opening(_known(stage.known), stage.given)


@lru_cache(maxsize=1)
def _known(known: _Knowledge) -> Any:
    return known.begin()


def versions() -> dict[str, str]:
    """The versions of the packages on which results depend, of those that are there."""
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _listed(versions: dict[str, str]) -> str:
    return ", ".join(f"{name} {number}" for name, number in versions.items())
