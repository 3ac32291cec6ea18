"""How what is said of a unit by several layers becomes one number.

A unit lies on several layers at once: those that make it, those that read it.  Each of them says
something of every unit of the group (a *part*); parts are brought to one scale and reduced, as in
Fang et al. 2023 (section 3.3), and by default each relative to itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from onnxslim_snacs.layers.moments import FloatArray
from onnxslim_snacs.scores.criterion import Option

_TINY = float(np.finfo(np.float64).tiny)


@dataclass(frozen=True, slots=True)
class Part:
    """What one layer says of the units of a group.

    Attributes:
        values: (units,) higher means keep.
        output: how much the layer's output varies, in the unit of the values.
    """

    values: FloatArray
    output: float = 1.0


def _lamp(part: Part) -> FloatArray:
    """Over the sum of all that are not smaller (Lee et al. 2021)."""
    order = np.argsort(part.values, kind="stable")
    above = np.cumsum(part.values[order][::-1])[::-1]
    found = np.empty(len(order))
    found[order] = part.values[order] / np.where(above == 0.0, 1.0, above)
    return found


def _over(divisor: float, values: FloatArray) -> FloatArray:
    return values / divisor if abs(divisor) > _TINY else values


_NORMALISATIONS: dict[str, Callable[[Part], FloatArray]] = {
    "none": lambda part: part.values,
    "mean": lambda part: _over(float(part.values.mean()), part.values),
    "sum": lambda part: _over(float(part.values.sum()), part.values),
    "max": lambda part: _over(float(np.abs(part.values).max()), part.values),
    "l2": lambda part: _over(float(np.linalg.norm(part.values)), part.values),
    "standard": lambda part: _over(float(part.values.std()), part.values - part.values.mean()),
    "lamp": _lamp,
    "output": lambda part: _over(part.output, part.values),
}
REDUCTIONS: dict[str, Callable[[FloatArray], FloatArray]] = {
    "sum": lambda several: several.sum(axis=0),
    "mean": lambda several: several.mean(axis=0),
    "max": lambda several: several.max(axis=0),
    "min": lambda several: several.min(axis=0),
    "product": lambda several: several.prod(axis=0),
    "first": lambda several: several[0],
}


def together(parts: Sequence[Part], reduce: str, normalise: str) -> FloatArray:
    """(units,) one number for each unit.

    Args:
        parts: at least one.
        reduce: a reduction over the parts.
        normalise: how each part is scaled before.
    """
    scaled = np.stack([_NORMALISATIONS[normalise](part) for part in parts])
    return np.asarray(REDUCTIONS[reduce](scaled), dtype=np.float64)


def one_of(*names: str) -> Callable[[str], str]:
    """A reader of options that knows some words, and raises ValueError for others."""

    def read(text: str) -> str:
        if text not in names:
            raise ValueError(f"expected one of {', '.join(names)}")
        return text

    return read


def at_least(least: int) -> Callable[[str], int]:
    """A reader of options that are whole numbers, and raises ValueError below `least`."""

    def read(text: str) -> int:
        number = int(text)
        if number < least:
            raise ValueError(f"expected at least {least}")
        return number

    return read


REDUCE = Option(
    "reduce",
    one_of(*REDUCTIONS),
    f"how what several layers say of a unit becomes one: {', '.join(REDUCTIONS)}",
)
NORMALISE = Option(
    "normalise",
    one_of(*(name for name in _NORMALISATIONS if name != "output")),
    "what each layer's values are divided by first: none, mean, sum, max, l2; standard, lamp",
)
NORMALISE_READERS = Option(
    "normalise",
    one_of(*_NORMALISATIONS),
    "what each reader's values are divided by first: none, mean, sum, max, l2, output (how much "
    "what the reader makes varies); standard, lamp",
)
