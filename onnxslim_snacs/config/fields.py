"""Whether values are of the types that a field or an argument declares, with its name if not.

What Python's callers write is taken as it is meant: lists for tuples, numbers of numpy, whole
numbers for real ones, paths for text.
"""

from __future__ import annotations

import functools
import inspect
import os
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import Field, fields
from numbers import Integral, Real
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, Union, get_args, get_origin, get_type_hints

from onnxslim_snacs.errors import UsageError, foreign

P = ParamSpec("P")
R = TypeVar("R")


#: No number that a field may hold is as large.
_MOST = 1 << 62


class _Wrong(Exception):
    """What was expected."""


def check_fields(value: Any) -> None:
    """Hold every field of a frozen dataclass against its type; called by its `__post_init__`.

    Raises:
        UsageError: naming the field.
    """
    kind = type(value)
    for name, hint in _hints(kind).items():
        meant = check_value(f"{kind.__name__}.{name}", getattr(value, name), hint)
        object.__setattr__(value, name, meant)


def check_value(name: str, value: Any, hint: Any) -> Any:
    """A value as it is meant.

    Raises:
        UsageError: it is not of the type; with its name.
    """
    try:
        return _meant(value, hint)
    except _Wrong as error:
        shown = foreign(f"{value!r} ({type(value).__name__})")
        raise UsageError(f"{name}: got {shown}, expected {error}") from None


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """A function that holds its arguments against their types before it begins.

    Raises:
        UsageError: naming the argument.
    """
    signature = inspect.signature(function)

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        hints = get_type_hints(function)
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError as error:
            raise UsageError(f"{function.__name__}: {error}") from None
        for name, value in bound.arguments.items():
            if is_plain(hints[name]):
                bound.arguments[name] = check_value(
                    f"{function.__name__}: {name}", value, hints[name]
                )
        return function(*bound.args, **bound.kwargs)

    return call


def _hints(kind: type) -> Mapping[str, Any]:
    hints = get_type_hints(kind)
    own: tuple[Field[Any], ...] = fields(kind)
    return {field.name: hints[field.name] for field in own if field.init}


def in_files(field: Field[Any]) -> bool:
    """Whether what a field holds can stand in a file, and not in memory alone."""
    return "memory" not in field.metadata


def is_plain(hint: Any) -> bool:
    """Whether the type is one that is checked: no function, no protocol."""
    return get_origin(hint) is not Callable and hint is not Any


def _meant(value: Any, hint: Any) -> Any:
    if not is_plain(hint):
        return value
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return _any_of(value, get_args(hint))
    if origin is tuple:
        return _tuple(value, get_args(hint))
    if origin is not None and issubclass(origin, Mapping):
        return _mapping(value, *get_args(hint))
    if origin is not None and issubclass(origin, Sequence):
        return _tuple(value, (get_args(hint)[0], ...))
    return _single(value, hint)


def _any_of(value: Any, hints: tuple[Any, ...]) -> Any:
    expected = []
    for hint in hints:
        if not is_plain(hint):
            return value
        try:
            return _meant(value, hint)
        except _Wrong as error:
            expected.append(str(error))
    raise _Wrong(" or ".join(expected))


def _single(value: Any, hint: Any) -> Any:
    if hint is object:
        return value
    if hint is None or hint is type(None):
        if value is None:
            return None
        raise _Wrong("None")
    if hint is bool:
        return _require(value, isinstance(value, bool), "True or False")
    if hint is int:
        whole = isinstance(value, Integral) and not isinstance(value, bool)
        whole = whole and abs(int(value)) < _MOST
        return int(_require(value, whole, "a whole number"))
    if hint is float:
        real = isinstance(value, Real) and not isinstance(value, bool)
        finite = real and abs(value) < _MOST  # neither infinity nor NaN is less
        return float(_require(value, finite, "a finite number"))
    if hint is str:
        text = isinstance(value, str | os.PathLike) and isinstance(os.fspath(value), str)
        return os.fspath(_require(value, text, "text"))
    if hint is Path:
        return Path(_require(value, isinstance(value, Path), "a path"))
    return _require(value, isinstance(value, hint), f"a {hint.__name__}")


def _tuple(value: Any, hints: tuple[Any, ...]) -> Any:
    several = hasattr(value, "__iter__") and not isinstance(value, str | bytes | Mapping)
    members = list(_require(value, several and not isinstance(value, set | frozenset), "a list"))
    if hints == (int, ...) and all(type(member) is int for member in members):
        return tuple(members)  # plans list a million units
    if len(hints) == 2 and hints[1] is ...:
        return tuple(_meant(member, hints[0]) for member in members)
    _require(value, len(members) == len(hints), f"{len(hints)} values")
    return tuple(_meant(member, hint) for member, hint in zip(members, hints, strict=True))


def _mapping(value: Any, key: Any, of: Any) -> Any:
    _require(value, isinstance(value, Mapping), "a mapping from names")
    return {_meant(k, key): _meant(v, of) for k, v in value.items()}


def _require(value: Any, right: bool, expected: str) -> Any:
    if not right:
        raise _Wrong(expected)
    return value
