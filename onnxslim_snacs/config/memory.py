"""Samples and labels that a caller of the Python functions holds in memory."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from onnxslim_snacs.errors import UsageError, foreign

#: What `DataConfig` takes.
EXPECTED = (
    "a path, module:function, arrays by the names of the inputs, one array, a list of dicts, an "
    "iterable that can be started again (a DataLoader, a CalibrationDataReader with rewind) or a "
    "function that yields samples"
)


class InMemory:
    """What a caller holds: compared by identity, never copied, never changed.

    Attributes:
        value: arrays by name, an array, a list, an iterable, a reader or a function.
    """

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __repr__(self) -> str:
        return f"({type(self.value).__name__})"

    def __deepcopy__(self, memo: object) -> InMemory:
        return self


def labels_in_memory(field: str, value: Any) -> InMemory:
    """Labels that a caller holds, which may be a list of numbers as well.

    Args:
        field: its name, for messages.
        value: what was given.

    Raises:
        UsageError: it is none of these, or it can be read once only.
    """
    numbers = isinstance(value, list | tuple) and all(type(v) is int for v in value)
    return InMemory(value) if numbers and value else in_memory(field, value)


def in_memory(field: str, value: Any) -> InMemory:
    """What a caller holds, if samples or labels can be taken from it, again and again.

    Args:
        field: its name, for messages.
        value: what was given.

    Raises:
        UsageError: it is none of these, or it can be read once only.
    """
    if isinstance(value, InMemory):
        return value
    once = _read_once(value)
    if once:
        raise UsageError(f"{field}: {foreign(type(value).__name__)} {once}")
    if not _is_source(value):
        shown = foreign(f"{value!r} ({type(value).__name__})")
        raise UsageError(f"{field}: got {shown}, expected {EXPECTED}")
    return InMemory(value)


def is_array(value: Any) -> bool:
    """Whether a value is an array or a tensor of whatever library."""
    return hasattr(value, "__array__") and not isinstance(value, type)


def is_function(value: Any) -> bool:
    """Whether a value is a function of the caller's."""
    return inspect.isfunction(value) or inspect.ismethod(value) or isinstance(value, partial)


def is_reader(value: Any) -> bool:
    """Whether a value is a CalibrationDataReader of onnxruntime.quantization, by what it has."""
    return not isinstance(value, type) and callable(getattr(value, "get_next", None))


def _read_once(value: Any) -> str:
    """Why a value cannot be read a second time, "" if it can."""
    if is_reader(value):
        again = callable(getattr(value, "rewind", None))
        return "" if again else "has no rewind(), so that it can be read once only: give it one"
    if isinstance(value, Iterator):
        return (
            "can be read once only: give a list, or the function that makes it, so that it can be "
            "started again"
        )
    return ""


def _is_source(value: Any) -> bool:
    if is_array(value) or is_function(value) or is_reader(value):
        return True
    if isinstance(value, Mapping):
        return bool(value) and all(isinstance(key, str) for key in value)
    if isinstance(value, list | tuple):
        members = (Mapping, list, tuple)
        return bool(value) and all(is_array(v) or isinstance(v, members) for v in value)
    if isinstance(value, type | str | bytes | bytearray | set | frozenset):
        return False
    return hasattr(value, "__iter__") or (
        hasattr(value, "__getitem__") and hasattr(value, "__len__")
    )
