"""Whatever is said about a model says which file it is."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator
from os import PathLike, fspath
from typing import Any, ParamSpec, TypeVar

from onnxslim_snacs.config import CompressConfig, DataConfig, FinetuneConfig, ReleasedConfig
from onnxslim_snacs.errors import (
    NOT_ENOUGH,
    InputRefused,
    LimitExceeded,
    NothingToPrune,
    ProofFailed,
    RuntimeRefused,
    SnacsError,
    foreign,
)

P = ParamSpec("P")
R = TypeVar("R")

_ABOUT_MODELS = (InputRefused, NothingToPrune, ProofFailed, LimitExceeded)


def names_file(command: Callable[P, R]) -> Callable[P, R]:
    """A command whose errors begin with the file of its model, unless they name a file already.

    Args:
        command: takes the model first.

    Raises:
        SnacsError: as the command does.
    """

    @functools.wraps(command)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except _ABOUT_MODELS as error:
            names = list(_names((*args, *_no_text(kwargs))))
            if not names or any(_says(str(error), name) for name in names):
                raise
            kind: type[SnacsError] = type(error)
            kind = InputRefused if kind is RuntimeRefused else kind  # that one cuts what it is told
            raise kind(f"{names[0]}: {error}") from error
        except MemoryError as error:
            names = list(_names((*args, *_no_text(kwargs))))
            if not names:
                raise
            raise LimitExceeded(f"{names[0]}: {NOT_ENOUGH}") from error

    return call


def _says(text: str, name: str) -> bool:
    """Whether a text has the name of a file, and not as a part of a word: files are called `o`."""
    return re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text) is not None


def _no_text(named: dict[str, Any]) -> tuple[Any, ...]:
    """Arguments that are given by name, but for options that are words."""
    return tuple(v for n, v in named.items() if n in ("model", "path") or not isinstance(v, str))


def _names(values: tuple[Any, ...]) -> Iterator[str]:
    """The files among the arguments of a command, the model first."""
    for value in values:
        if isinstance(value, str | PathLike) and (name := fspath(value)):
            yield foreign(name)
        elif isinstance(value, CompressConfig | ReleasedConfig | FinetuneConfig):
            yield from _names((value.data,))
        elif isinstance(value, DataConfig) and value.path:
            yield foreign(value.path)
