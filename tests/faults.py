"""A disk that fails at one call, or a process that is killed there."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

#: Everything that touches a file by the hand of our own.
CALLS = ("open", "write", "fsync", "replace", "link", "symlink", "unlink", "close")


@contextmanager
def faults(number: int, error: BaseException | Callable[[], object]) -> Iterator[list[str]]:
    """Let the call of that number fail; what closes a file closes it all the same, as Linux does.

    Args:
        number: which call, from 1.
        error: what it raises, or what is done in its place.

    Yields:
        The names of the calls so far.
    """
    made: list[str] = []

    def failing(name: str, right: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            made.append(name)
            if len(made) != number:
                return right(*arguments, **options)
            if name == "close":
                right(*arguments, **options)
            if isinstance(error, BaseException):
                raise error
            return error()

        return call

    with pytest.MonkeyPatch.context() as patch:
        for name in CALLS:
            patch.setattr(os, name, failing(name, getattr(os, name)))
        yield made
