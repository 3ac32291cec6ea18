"""What taking one unit away really costs: the measure that criteria are held against.

For every unit of some groups the error of the outputs is taken with that unit alone switched off,
raw, and after the layers that read it were re-fitted by least squares (method 4.1).  A criterion is
as good as the rank correlation of its scores with these; scores of different groups need not
compare, so that the correlation is taken in each group, and averaged.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, helper

from onnxslim_snacs.activations.run import comparable, execute, open_session
from onnxslim_snacs.activations.sources import CalibrationSource
from onnxslim_snacs.config.spending import NORMAL
from onnxslim_snacs.ir.types import Axis, BoolArray, Group, IntArray
from onnxslim_snacs.judge.error import ErrorJudge, error_judge, squared_distance
from onnxslim_snacs.layers.consumers import FEATURES, RIDGE
from onnxslim_snacs.layers.drawn import Reading
from onnxslim_snacs.layers.grams import read_layers
from onnxslim_snacs.layers.layers import Layer, original_layers, weight_blocks, weight_from_blocks
from onnxslim_snacs.layers.moments import FloatArray
from onnxslim_snacs.layers.typed import real_constant
from onnxslim_snacs.model.edit import put_nodes
from onnxslim_snacs.model.session import SessionConfig
from onnxslim_snacs.ops.analyse import Analysis
from onnxslim_snacs.progress import Progress, silent

#: Groups that are looked at, and units of each: evenly spread over all there are.
GROUPS, UNITS = 6, 24
#: Samples on which errors are taken, and on which layers are re-fitted.
SAMPLES, FITTED = 64, 512


@dataclass(frozen=True, slots=True)
class Damage:
    """Relative squared error of the outputs with one unit gone.

    Attributes:
        units: group id -> (k,) the units that were looked at.
        raw: group id -> (k,) the error.
        refit: group id -> (k,) the error after the readers' re-fit; absent where not all of them
            can be re-fitted.
    """

    units: Mapping[str, IntArray]
    raw: Mapping[str, FloatArray]
    refit: Mapping[str, FloatArray]


def unit_damage(
    analysis: Analysis,
    scoring: CalibrationSource,
    judging: CalibrationSource,
    session: SessionConfig,
    *,
    seed: int = 0,
    groups: int = GROUPS,
    units: int = UNITS,
    progress: Progress = silent,
) -> Damage:
    """Take units away one by one.

    Args:
        analysis: the model.
        scoring: samples to re-fit on.
        judging: samples to take errors on.
        session: how to run it.
        seed: for the choice of rows.
        groups: how many groups are looked at.
        units: how many units of each.
        progress: told (stage, done, total).
    """
    several = [group for group in analysis.ir.groups if group.units > 2]
    chosen = [several[place] for place in _spread(len(several), groups)]
    few = judging.part(0, min(SAMPLES, judging.samples))
    judge = error_judge(analysis, session, tuple(few.batches(SAMPLES)))
    fits = _fits(analysis, scoring, session, seed)
    looked, raw, refit = {}, {}, {}
    for number, group in enumerate(chosen):
        progress("damage of units", number, len(chosen))
        looked[group.id] = _spread(group.units, units)
        masks = [_without(group.units, unit) for unit in looked[group.id]]
        raw[group.id] = np.array([judge.error({group.id: mask}) for mask in masks])
        readers = _readers(analysis, group, fits)
        if readers:
            errors = _refitted(judge, session, group, readers)
            refit[group.id] = np.array([errors(unit) for unit in looked[group.id]])
    progress("damage of units", len(chosen), len(chosen))
    return Damage(looked, raw, refit)


def damage_correlation(
    scores: Mapping[str, NDArray[np.float64]],
    damage: Mapping[str, FloatArray],
    units: Mapping[str, IntArray],
) -> float | None:
    """The mean over groups of Spearman's correlation of scores with damage.

    Args:
        scores: group id -> (units,).
        damage: group id -> (k,).
        units: group id -> (k,) which units those are.

    Returns:
        From -1 to 1; a group of which all units score the same counts as 0; None without groups.
    """
    found = [
        spearman(scores[name][units[name]], values)
        for name, values in damage.items()
        if np.ptp(values) > 0 and np.isfinite(values).all()
    ]
    return float(np.mean(found)) if found else None


def spearman(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Spearman's rank correlation of two vectors, (units,) each; 0 where one does not vary."""
    ranks = [_ranks(values) for values in (a, b)]
    size = float(np.sqrt(np.vdot(ranks[0], ranks[0]) * np.vdot(ranks[1], ranks[1])))
    return float(np.vdot(ranks[0], ranks[1])) / size if size > 0 else 0.0


def _ranks(values: NDArray[np.float64]) -> FloatArray:
    """Ranks about their mean; equal values share theirs."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    found: FloatArray = (last - (counts - 1) / 2)[place] - (len(values) + 1) / 2
    return found


@dataclass(frozen=True, slots=True)
class _Fit:
    """A layer that can be re-fitted, and the moments of what it reads.

    Attributes:
        layer: the layer.
        channels: that it reads.
        weight: as it is stored.
        mean: (features,) of what it reads.
        inverse: (features, features) of the covariance of what it reads.
    """

    layer: Layer
    channels: int
    weight: NDArray[Any]
    mean: FloatArray
    inverse: FloatArray

    def without(self, channels: IntArray) -> tuple[NDArray[Any], NDArray[Any]]:
        """(weight, change of the bias) after the best re-fit without some channels."""
        inverse, blocks = self.inverse, weight_blocks(self.layer, self.weight)[0]
        taps = np.arange(len(inverse)) // self.channels
        at = np.flatnonzero(np.isin(np.arange(len(inverse)) - taps * self.channels, channels))
        change = -inverse[:, at] @ np.linalg.solve(inverse[np.ix_(at, at)], blocks[at])
        change[at] = -blocks[at]
        shift = -self.mean @ change
        made = weight_from_blocks(self.layer, (blocks + change)[None], self.weight)
        return made, shift.astype(self.weight.dtype)


def _spread(count: int, most: int) -> IntArray:
    """At most `most` of the first `count` numbers, evenly spread."""
    taken = min(count, most)
    found: IntArray = np.arange(taken) * count // max(taken, 1)
    return found


def _without(units: int, unit: int) -> BoolArray:
    stays = np.ones(units, dtype=bool)
    stays[unit] = False
    return stays


def _fits(
    analysis: Analysis, scoring: CalibrationSource, session: SessionConfig, seed: int
) -> dict[Axis, list[_Fit]]:
    """Channel axis -> the layers that read it and can be re-fitted."""
    found: dict[Axis, list[_Fit]] = {}
    layers = []
    for axis, layer in original_layers(analysis):
        weight = real_constant(analysis.graph, layer.weight)
        is_plain = weight is not None and layer.groups == 1 and layer.weight in _stored(analysis)
        if weight is not None and is_plain and weight.size // layer.outputs <= FEATURES:
            layers.append((axis, layer, weight))
    if not layers:
        return {}
    read = read_layers(
        analysis,
        scoring.part(0, min(FITTED, scoring.samples)),
        [Reading(layer, layer.out) for _, layer, _ in layers],
        session,
        seed,
        silent,
        NORMAL.moments,
    )
    for (axis, layer, weight), seen in zip(layers, read, strict=True):
        if seen is not None and np.isfinite(seen.covariance).all():
            channels = analysis.ir.table.extent(axis)
            mean, inverse = seen.mean, _inverse(seen.covariance)
            found.setdefault(axis, []).append(_Fit(layer, channels, weight, mean, inverse))
    return found


def _inverse(covariance: FloatArray) -> FloatArray:
    level = RIDGE * max(float(np.trace(covariance)) / len(covariance), 1e-30)
    damped = covariance + level * np.eye(len(covariance))
    return np.asarray(np.linalg.inv(damped), dtype=np.float64)


def _stored(analysis: Analysis) -> frozenset[str]:
    return frozenset(tensor.name for tensor in analysis.graph.graph.initializer)


def _readers(
    analysis: Analysis, group: Group, fits: Mapping[Axis, Sequence[_Fit]]
) -> list[tuple[_Fit, IntArray]]:
    """The layers that read a group with its (units, channels); none if one cannot be re-fitted."""
    axes = {m.axis: m.index for m in group.members}
    sinks = [s.axis for _, s in analysis.ir.sinks if s.axis in axes]
    known = [(fit, axes[axis]) for axis in axes for fit in fits.get(axis, ())]
    return known if len(known) == len(sinks) else []


def _refitted(
    judge: ErrorJudge,
    session: SessionConfig,
    group: Group,
    readers: Sequence[tuple[_Fit, IntArray]],
) -> Callable[[int], float]:
    """Unit -> the error without it, its readers re-fitted."""
    graph = judge.analysis.graph
    opened = open_session(_with_inputs(graph.proto, readers), session, graph.base_dir)
    wants = {value.name for value in opened.get_inputs()}

    def error(unit: int) -> float:
        feeds: dict[str, NDArray[Any]] = {}
        for number, (fit, index) in enumerate(readers):
            weight, shift = fit.without(index[unit])
            feeds[f"weight\0{number}"] = weight
            feeds[f"shift\0{number}"] = _along(fit.layer, shift)
        total = np.zeros(len(judge.spread))
        for batch, wanted in zip(judge.runs.batches, judge.runs.reference, strict=True):
            given = {n: v for n, v in {**batch.inputs, **feeds}.items() if n in wants}
            got = comparable(execute(opened, judge.runs.outputs, given))
            total += [squared_distance(a, b) for a, b in zip(wanted, got, strict=True)]
        return float(np.mean(total / np.array(judge.spread)))

    return error


def _with_inputs(model: ModelProto, readers: Sequence[tuple[_Fit, IntArray]]) -> ModelProto:
    """A copy that takes the weights of some layers, and what is added behind them, as inputs."""
    made = ModelProto()
    made.CopyFrom(model)
    after = {}
    for number, (fit, _) in enumerate(readers):
        weight, shift, inner = (f"{what}\0{number}" for what in ("weight", "shift", "inner"))
        node, layer = made.graph.node[fit.layer.position], fit.layer
        node.input[layer.weight_input] = weight
        node.output[list(node.output).index(layer.out)] = inner
        after[layer.position] = [helper.make_node("Add", [inner, shift], [layer.out])]
        kind = helper.np_dtype_to_tensor_dtype(fit.weight.dtype)
        along = _along(layer, np.zeros(layer.outputs)).shape
        for name, shape in ((weight, fit.weight.shape), (shift, along)):
            made.graph.input.append(helper.make_tensor_value_info(name, kind, shape))
    put_nodes(made.graph, after=after)
    return made


def _along(layer: Layer, vector: NDArray[Any]) -> NDArray[Any]:
    """(outputs, 1, ...), spread along the other axes of the layer's output."""
    return vector.reshape(-1, *(1,) * (layer.rank - 1 - layer.out_dim))
