"""Frozen dataclasses from JSON and YAML, by the types that their fields declare.

The types are those against which `fields` holds what Python's callers write: a library with types
of its own would be a second set of rules beside it, and knows no numbers of numpy.
"""

from __future__ import annotations

import math
import types
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from onnxslim_snacs.config.fields import check_value, in_files
from onnxslim_snacs.config.memory import InMemory
from onnxslim_snacs.errors import UsageError, foreign

T = TypeVar("T")


def plain(value: Any) -> Any:
    """A dataclass, or what stands in one, as JSON knows it; infinities and NaN become null.

    What no file can hold (samples in memory, functions) is named instead.
    """
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in fields(value) if in_files(f)}
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, InMemory):
        return str(value)
    if hasattr(value, "tolist") and getattr(value, "ndim", 1) <= 1:
        return plain(value.tolist())
    return str(value) if hasattr(value, "__fspath__") else f"<{type(value).__name__} in memory>"


def from_plain(kind: type[T], value: Any, where: str) -> T:
    """The dataclass that a mapping describes.

    Args:
        kind: the dataclass.
        value: what JSON or YAML holds; numbers that are null were infinite or none.
        where: how the value is called in messages.

    Raises:
        UsageError: naming the field, what it holds and what was expected.
    """
    found: T = _read(kind, value, where)
    return found


def _read(hint: Any, value: Any, where: str) -> Any:
    origin, members = get_origin(hint), get_args(hint)
    if is_dataclass(hint) and isinstance(hint, type):
        return _dataclass(hint, value, where)
    if origin in (Union, types.UnionType):
        return _any(members, value, where)
    if origin is tuple and isinstance(value, list):
        several = len(members) == 2 and members[1] is ...
        if several or len(members) == len(value):
            kinds = [members[0]] * len(value) if several else members
            pairs = enumerate(zip(kinds, value, strict=True))
            return tuple(_read(kind, each, f"{where}[{n}]") for n, (kind, each) in pairs)
    if origin is not None and issubclass(origin, Mapping) and isinstance(value, Mapping):
        return {str(k): _read(members[1], v, f"{where}.{k}") for k, v in value.items()}
    if origin is not None and issubclass(origin, Sequence) and isinstance(value, list):
        return tuple(_read(members[0], each, f"{where}[{n}]") for n, each in enumerate(value))
    if hint is float and value is None:
        return math.nan
    return value if hint is Any else check_value(where, value, hint)


def _any(hints: tuple[Any, ...], value: Any, where: str) -> Any:
    if value is None and type(None) in hints:
        return None
    said = []
    for hint in hints:
        if hint is type(None):
            continue
        try:
            return _read(hint, value, where)
        except UsageError as error:
            said.append(error)
    raise said[0]


def _dataclass(kind: Any, value: Any, where: str) -> Any:
    if not isinstance(value, Mapping):
        shown = foreign(repr(value))
        raise UsageError(f"{where}: got {shown}, expected a mapping with the fields of it")
    hints = get_type_hints(kind)
    own: dict[str, Field[Any]] = {field.name: field for field in fields(kind) if field.init}
    for name in value:
        if name not in own:
            known = ", ".join(own)
            raise UsageError(f"{where}: there is no field {foreign(name)}; there are {known}")
    for name, field in own.items():
        if name not in value and field.default is MISSING and field.default_factory is MISSING:
            raise UsageError(f"{where}.{name} is missing")
    return kind(**{name: _read(hints[name], v, f"{where}.{name}") for name, v in value.items()})
