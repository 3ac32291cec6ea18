"""Samples made from those at hand: the teacher answers to whatever it is shown.

Images are turned round (flip), moved by up to an eighth of their side with their edges drawn out
(shift), and samples of floats are mixed in pairs (mix; Zhang et al. 2018), half of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxslim_snacs.activations.inputs import InputSpec

_Arrays = Mapping[str, NDArray[Any]]
#: Extents of an axis of colours.
_COLOURS = (1, 3, 4)
#: A side of fewer pixels is none of an image.
_LEAST = 8
#: Shift: share of a side.  Mix: share of the samples.
_SHIFT, _MIXED = 0.125, 0.5


@dataclass(frozen=True, slots=True)
class Mixed:
    """Samples that were changed.

    Attributes:
        inputs: input -> (sample, ...).
        other: (sample,) which sample was mixed into each.
        share: (sample,) of it.
    """

    inputs: dict[str, NDArray[Any]]
    other: NDArray[np.int64]
    share: NDArray[np.float64]


def augmented(
    inputs: _Arrays, specs: Sequence[InputSpec], ways: Sequence[str], rng: np.random.Generator
) -> Mixed:
    """Change a batch.

    Args:
        inputs: input -> (sample, ...).
        specs: the inputs.
        ways: flip, shift, mix.
        rng: decides.
    """
    count = min((len(v) for v in inputs.values() if v.ndim), default=1)
    made = dict(inputs)
    sides = image_sides(inputs, specs)
    # drawn in any case, so that a way that is left out changes nothing about the others
    turned, moves = rng.random(count) < 0.5, rng.random((count, 2))
    for name, (high, wide) in sides.items():
        if "flip" in ways:
            made[name] = _flip(made[name], wide, turned)
        if "shift" in ways:
            made[name] = _shift(made[name], high, wide, moves)
    other, share = rng.permutation(count), rng.random(count) * (rng.random(count) < _MIXED) / 2
    if "mix" not in ways or any(spec.dtype.kind != "f" for spec in specs):
        return Mixed(made, np.arange(count), np.zeros(count))
    return Mixed({name: _mix(v, other, share) for name, v in made.items()}, other, share)


def image_sides(inputs: _Arrays, specs: Sequence[InputSpec]) -> dict[str, tuple[int, int]]:
    """Input -> its axes of height and width, of inputs that are images."""
    found = {}
    for spec in specs:
        shape = inputs[spec.name].shape
        if len(shape) != 4 or spec.dtype.kind != "f":
            continue
        high = 2 if shape[1] in _COLOURS else 1 if shape[3] in _COLOURS else 0
        if high and min(shape[high : high + 2]) >= _LEAST:
            found[spec.name] = (high, high + 1)
    return found


def _flip(values: NDArray[Any], wide: int, turned: NDArray[np.bool_]) -> NDArray[Any]:
    made = values.copy()
    made[turned] = np.flip(values[turned], axis=wide)
    return made


def _shift(values: NDArray[Any], high: int, wide: int, moves: NDArray[np.float64]) -> NDArray[Any]:
    """Each image by its own number of pixels; what comes in from outside repeats the edge."""
    for axis, share in ((high, moves[:, 0]), (wide, moves[:, 1])):
        extent = values.shape[axis]
        most = max(1, int(extent * _SHIFT))
        steps = np.floor(share * (2 * most + 1)).astype(np.int64) - most
        place = np.clip(np.arange(extent) + steps[:, None], 0, extent - 1)  # (sample, pixel)
        shape = [1] * values.ndim
        shape[0], shape[axis] = place.shape
        values = np.take_along_axis(values, place.reshape(shape), axis=axis)
    return values


def _mix(
    values: NDArray[Any], other: NDArray[np.int64], share: NDArray[np.float64]
) -> NDArray[Any]:
    weight = share.reshape(-1, *[1] * (values.ndim - 1)).astype(values.dtype)
    made: NDArray[Any] = values * (1 - weight) + values[other] * weight
    return made
