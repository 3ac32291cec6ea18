"""CHIP: how much the maps of a layer lose of their variety as one goes (method 7.2).

Sui et al. 2021: with the maps of a sample as the rows of a matrix (channels x positions), the fall
of its nuclear norm as the rows of a unit are set to zero, the mean over samples.  Of a tensor that
readers see; several of them are brought to one scale.  Singular values come from the smaller of the
two products of the matrix with itself.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxslim_snacs.ir.types import Axis, Group, IntArray
from onnxslim_snacs.layers.moments import FloatArray
from onnxslim_snacs.ops.analyse import Analysis
from onnxslim_snacs.scores.criterion import Criterion, Option, ScoreContext, ScoreResult
from onnxslim_snacs.scores.fallback import completed
from onnxslim_snacs.scores.maps import MapAxis, map_axes, mean_over_images
from onnxslim_snacs.scores.parts import NORMALISE, REDUCE, Part, at_least, together

#: Samples; the paper takes 640.
IMAGES = 32
#: Numbers in the matrices that are decomposed at a time.
_HELD = 1 << 22


def score(
    context: ScoreContext, reduce: str = "mean", normalise: str = "mean", images: int = IMAGES
) -> ScoreResult:
    """Fall of the nuclear norm of what readers see as each unit goes."""
    analysis = context.analysis
    groups = {axis: _groups_on(analysis, axis) for axis in _seen(analysis)}
    wanted = map_axes(context, [axis for axis, found in groups.items() if found])
    falls = mean_over_images(context, wanted, images, partial(_falls, groups))
    parts: dict[str, list[Part]] = {}
    for axis, values in falls.items():
        start = 0
        for group in groups[axis]:
            part = Part(values[start : start + group.units])
            parts.setdefault(group.id, []).append(part)
            start += group.units
    found = {name: together(several, reduce, normalise) for name, several in parts.items()}
    return completed(context, found, "no layer reads them sample by sample")


def _seen(analysis: Analysis) -> list[Axis]:
    """The channel axes that layers sum over."""
    axes = (sink.axis for _, sink in analysis.ir.sinks)
    seen = dict.fromkeys(a for a in axes if not analysis.facts.is_weight(a.tensor))
    return [a for a in seen if analysis.facts.samples(a.tensor)]


def _groups_on(analysis: Analysis, axis: Axis) -> list[Group]:
    return [group for group in analysis.ir.groups if group.on(axis) is not None]


def _falls(groups: dict[Axis, list[Group]], item: MapAxis, values: NDArray[Any]) -> FloatArray:
    """(samples, units of all groups on the axis)."""
    maps = values.reshape(*values.shape[:2], -1).astype(np.float64)
    several = [group.on(item.axis) for group in groups[item.axis]]
    return np.concatenate([nuclear_falls(maps, i) for i in several if i is not None], axis=1)


def nuclear_falls(maps: FloatArray, index: IntArray) -> FloatArray:
    """(samples, units) fall of the nuclear norm as the rows of a unit become zero.

    Args:
        maps: (samples, channels, positions).
        index: (units, channels of a unit).
    """
    samples, channels, positions = maps.shape
    by_row = channels <= positions
    square = maps @ maps.transpose(0, 2, 1) if by_row else maps.transpose(0, 2, 1) @ maps
    whole = _nuclear(square)
    size = square.shape[1]
    pairs = np.stack(np.meshgrid(np.arange(samples), np.arange(len(index)), indexing="ij"))
    at, unit = pairs.reshape(2, -1)
    left = np.empty(len(at))
    step = max(1, _HELD // (size * size))
    for start in range(0, len(at), step):
        part = slice(start, start + step)
        without = square[at[part]]
        rows = index[unit[part]]
        if by_row:
            each = np.arange(len(without))[:, None]
            without[each, rows] = 0.0
            without[each, :, rows] = 0.0
        else:
            gone = maps[at[part][:, None], rows]
            without -= gone.transpose(0, 2, 1) @ gone
        left[part] = _nuclear(without)
    return whole[:, None] - left.reshape(samples, len(index))


def _nuclear(square: FloatArray) -> FloatArray:
    """(several,) sum of the roots of the eigenvalues of (several, size, size)."""
    values = np.linalg.eigvalsh(square)
    found: FloatArray = np.sqrt(np.maximum(values, 0.0)).sum(axis=1)
    return found


CHIP = Criterion(
    "chip",
    "fall of the nuclear norm of a layer's maps as a unit goes (Sui et al. 2021)",
    score,
    needs=("activations",),
    options=(REDUCE, NORMALISE, Option("images", at_least(1), "samples that are looked at")),
)
