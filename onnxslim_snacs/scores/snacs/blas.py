"""Threads of our own around many small matrix products, none inside them."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from typing import Any, TypeVar

from threadpoolctl import ThreadpoolController

T = TypeVar("T")
R = TypeVar("R")

_lock = threading.Lock()
_inside = 0
_limits: Any = None


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Keep numpy's BLAS from starting threads; the last one to leave gives them back.

    Small products gain nothing from threads, which then only wait for each other; and sums come
    out in the same order whatever the number of cores.
    """
    global _inside, _limits
    with _lock:
        if _inside == 0:
            _limits = _blas().limit(limits=1)
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0:
                _limits.restore_original_limits()


@functools.cache
def _blas() -> ThreadpoolController:
    """Find numpy's BLAS once; looking through the loaded libraries takes milliseconds."""
    return ThreadpoolController()


def default_threads() -> int:
    """Give the number of worker threads: the cores this process may use, at most 8."""
    usable = getattr(os, "sched_getaffinity", None)
    return min(8, len(usable(0)) if usable else os.cpu_count() or 1)


def side_by_side(
    work: Callable[[T], R], items: Sequence[T], threads: int | None = None
) -> Iterator[R]:
    """Do the same with every item, a few at a time.

    Args:
        work: what to do.
        items: with what.
        threads: worker threads; None: the cores at hand; 1: none but this one.

    Yields:
        The results in the order of the items.
    """
    count = min(len(items), threads or default_threads())
    with one_blas_thread():
        if count < 2:
            yield from map(work, items)
            return
        pool = ThreadPoolExecutor(count)
        try:
            here = copy_context()  # what is computed with, among others
            yield from pool.map(lambda item: here.copy().run(work, item), items)
        finally:
            pool.shutdown(cancel_futures=True)
