"""From the text of options to values."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

from onnxslim_snacs.errors import UsageError


def targets(items: list[str] | None) -> dict[str, float]:
    """`macs=0.5` and the like, each key once."""
    found: dict[str, float] = {}
    for key, value in _pairs("--target", items):
        if key in found:
            raise UsageError(f"--target {key} is given twice")
        found[key] = _number("--target", value)
    return found


def settings(items: list[str] | None) -> dict[str, str]:
    """`groups=4` and the like, each key once."""
    found: dict[str, str] = {}
    for key, value in _pairs("--option", items):
        if key in found:
            raise UsageError(f"--option {key} is given twice")
        found[key] = value
    return found


def shapes(items: list[str] | None) -> dict[str, tuple[int, ...]]:
    """`name=1,3,224,224`; an input without dimensions is `name=`, an empty past has a 0."""
    return {
        name: tuple(_extent("--input-shape", part) for part in text.split(",") if text)
        for name, text in _pairs("--input-shape", items)
    }


def axes(items: list[str] | None) -> dict[str, int]:
    """`name=1`, each input once."""
    found: dict[str, int] = {}
    for name, text in _pairs("--sample-axis", items):
        if name in found:
            raise UsageError(f"--sample-axis {name} is given twice")
        if not text.strip().isdecimal():
            raise UsageError(f"--sample-axis {name}={text}: expected the number of an axis, from 0")
        found[name] = int(text)
    return found


def floats(option: str, text: str | None, default: tuple[float, ...]) -> tuple[float, ...]:
    """Numbers with commas between them."""
    if text is None:
        return default
    return tuple(_number(option, part) for part in text.split(","))


def multiple(text: str) -> int | None:
    """A whole number; None for `auto`."""
    return None if text == "auto" else _whole("--multiple-of", text)


def size(option: str, text: str | None) -> tuple[int, int] | None:
    """`224,192`, `224x192` (height, width) or `224`."""
    if text is None:
        return None
    numbers = [_whole(option, part) for part in text.replace("x", ",").split(",")]
    if len(numbers) > 2:
        raise UsageError(f"{option} {text}: expected H,W")
    return numbers[0], numbers[-1]


def memory(text: str) -> int:
    """`4G`, `512M` or bytes: units are powers of 1024."""
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([KMGT]?)(?:I?B)?", text.strip().upper())
    if found is None or not float(found[1]):
        raise UsageError(f"--max-memory {text}: expected a size, e.g. 512M or 4G")
    return int(float(found[1]) * 1024 ** " KMGT".index(found[2] or " "))


def _pairs(option: str, items: list[str] | None) -> Iterator[tuple[str, str]]:
    for item in items or []:
        key, equals, value = item.rpartition("=")
        if not equals or not key:
            raise UsageError(f"{option} {item}: expected KEY=VALUE")
        yield key, value


def _number(option: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError as error:
        raise UsageError(f"{option}: {text!r} is not a number") from error
    if not math.isfinite(number):
        raise UsageError(f"{option}: {text!r} is not a finite number")
    return number


def _extent(option: str, text: str) -> int:
    return 0 if text.strip() == "0" else _whole(option, text)


def _whole(option: str, text: str) -> int:
    number = _number(option, text)
    if number < 1 or number != int(number):
        raise UsageError(f"{option}: {text!r} is not a positive whole number")
    return int(number)
