"""Norms of the weights that make a channel (Li et al. 2017, L1; He et al. 2018, L2).

A unit lies on several producers (all branches that are added on a residual stream, say): each
producer's norms are divided by their mean over the group, and the mean over the producers counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxslim_snacs.ir.types import Axis, Group, IntArray
from onnxslim_snacs.layers.moments import FloatArray
from onnxslim_snacs.layers.real import real_value
from onnxslim_snacs.ops.analyse import Analysis
from onnxslim_snacs.scores.criterion import Criterion, ScoreContext, ScoreResult
from onnxslim_snacs.scores.parts import NORMALISE, REDUCE, Part, together

#: Numbers that are taken into double precision at a time.
_BLOCK = 1 << 22


def l1(context: ScoreContext, reduce: str = "mean", normalise: str = "mean") -> ScoreResult:
    """Sum of absolute weights of each unit's filters."""
    return ScoreResult(of_producers(context.analysis, partial(_norms, order=1), reduce, normalise))


def l2(context: ScoreContext, reduce: str = "mean", normalise: str = "mean") -> ScoreResult:
    """Euclidean norm of each unit's filters."""
    return ScoreResult(of_producers(context.analysis, partial(_norms, order=2), reduce, normalise))


def of_producers(
    analysis: Analysis,
    measure: Callable[[NDArray[Any], int, IntArray], FloatArray],
    reduce: str,
    normalise: str,
) -> dict[str, FloatArray]:
    """Group -> (units,) what the layers that make its units say; ones where there are none.

    Args:
        analysis: the model.
        measure: a weight, its axis of output channels, and the (units, multiplicity) slots of the
            units on that axis -> (units,).
        reduce: over the layers.
        normalise: of each layer.
    """
    producers = list(producing_axes(analysis))
    return {
        group.id: _group_score(analysis, group, producers, measure, reduce, normalise)
        for group in analysis.ir.groups
    }


def producing_axes(analysis: Analysis) -> Iterator[Axis]:
    """The axes of weights that make channels, each once."""
    seen: set[Axis] = set()
    for part in analysis.parts():
        for _, sink in part.ir.sinks:
            axis = sink.weight_out
            if axis is not None and axis not in seen and part.facts.is_weight(axis.tensor):
                seen.add(axis)
                yield axis


def _group_score(
    analysis: Analysis,
    group: Group,
    producers: list[Axis],
    measure: Callable[[NDArray[Any], int, IntArray], FloatArray],
    reduce: str,
    normalise: str,
) -> FloatArray:
    parts = []
    for axis in producers:
        index = group.on(axis)
        weight = real_value(analysis, axis) if index is not None else None
        if index is not None and weight is not None:
            parts.append(Part(measure(weight, axis.dim, index)))
    return together(parts, reduce, normalise) if parts else np.ones(group.units)


def _norms(weight: NDArray[Any], dim: int, index: IntArray, *, order: int) -> FloatArray:
    found: FloatArray = _powers(weight, dim, order)[index].sum(axis=1) ** (1 / order)
    return found


def _powers(weight: NDArray[Any], dim: int, order: int) -> NDArray[np.float64]:
    """(slots of `dim`,) sums of |weight| ** order, in double precision, a block at a time."""
    rest = tuple(k for k in range(weight.ndim) if k != dim)
    sums = np.zeros(weight.shape[dim])
    step = max(1, _BLOCK // max(1, weight[:1].size))  # as it lies in memory
    for start in range(0, len(weight), step):
        block = np.abs(weight[start : start + step].astype(np.float64)) ** order
        part = block.sum(axis=rest)
        if dim == 0:
            sums[start : start + step] = part
        else:
            sums += part
    return sums


L1 = Criterion(
    "l1",
    "L1 norm of a unit's filters (Li et al. 2017)",
    l1,
    needs_data=False,
    needs=("weights",),
    options=(REDUCE, NORMALISE),
)
L2 = Criterion(
    "l2",
    "L2 norm of a unit's filters",
    l2,
    needs_data=False,
    needs=("weights",),
    options=(REDUCE, NORMALISE),
)
