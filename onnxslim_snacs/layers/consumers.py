"""Second moments of what every layer of the original reads: one pass, constant memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from onnxslim_snacs.activations.sources import CalibrationSource
from onnxslim_snacs.arithmetic.current import arithmetic
from onnxslim_snacs.cluster.spread import Spread
from onnxslim_snacs.config.spending import NORMAL, RowCount
from onnxslim_snacs.ir.types import Axis, Group, IntArray
from onnxslim_snacs.layers.drawn import Reading
from onnxslim_snacs.layers.grams import Gathering, run_alone
from onnxslim_snacs.layers.layers import Layer, original_layers, weight_blocks
from onnxslim_snacs.layers.moments import FloatArray
from onnxslim_snacs.layers.tail import Tail, follow, runs_into_sum
from onnxslim_snacs.layers.twins import source_axis, twin_of
from onnxslim_snacs.layers.typed import real_constant
from onnxslim_snacs.model.graph import ModelGraph
from onnxslim_snacs.model.session import SessionConfig
from onnxslim_snacs.ops.analyse import Analysis
from onnxslim_snacs.progress import Progress, silent

#: Samples of the pass at the most.
SAMPLES = 512
#: Features beyond which a layer is left out: its matrix would take more than 40 MB.
FEATURES = 2304
#: Ridge, relative to the mean variance of the features (GRAIL; method 4.1).
RIDGE = 1e-3


@dataclass(frozen=True, slots=True)
class Consumer:
    """A layer of the original and the second moments of its input.

    Attributes:
        axis: the channel axis that it reads.
        channels: extent of that axis; feature t * channels + c is tap t of channel c.
        covariance: (features, features).
        mean: (features,).
        weight: (features, outputs) as it arrives behind the per-channel maps that follow.
        variance: variance of the tensor into which it runs (a residual sum, if it does), summed
            over the channels.
    """

    axis: Axis
    channels: int
    covariance: FloatArray
    mean: FloatArray
    weight: FloatArray
    variance: float

    def features(self, channels: IntArray) -> IntArray:
        """(channels x taps,) the features that belong to some channels, tap by tap."""
        taps = np.arange(len(self.mean) // self.channels)[:, None]
        found: IntArray = (taps * self.channels + channels).reshape(-1)
        return found

    def error_raw(self, channels: IntArray) -> float:
        """Relative squared error of the output when channels (their positions) become zero."""
        return float(self.errors_raw(channels[None], [1])[0])

    def errors_raw(self, units: IntArray, counts: Sequence[int]) -> FloatArray:
        """The same as ever more units go.

        Args:
            units: (units, channels of a unit) in the order in which they go.
            counts: how many of them have gone.

        Returns:
            An error for each count.
        """
        gone = np.concatenate([self.features(channels) for channels in units])
        weight, mean = self.weight[gone], self.mean[gone]
        together = self.covariance[gone[:, None], gone] + np.outer(mean, mean)
        together *= weight @ weight.T
        ends = [count * len(gone) // len(units) for count in counts]
        errors = np.array([together[:end, :end].sum() for end in ends])
        found: FloatArray = np.maximum(errors, 0.0) / self.variance
        return found

    def errors_refitted(self, units: IntArray, counts: Sequence[int]) -> FloatArray:
        """The same after the best re-fit of the other channels, as ever more units go (method 4.1).

        With L the Cholesky factor of the damped covariance, the features that go last first, what
        the ones that stay leave unexplained of the others is the last block of L times itself.

        Args:
            units: (units, channels of a unit) in the order in which they go.
            counts: how many of them have gone.

        Returns:
            An error for each count.
        """
        gone = np.concatenate([self.features(channels) for channels in units])
        stays = np.setdiff1d(np.arange(len(self.mean)), gone)
        order = np.concatenate([stays, gone[::-1]])
        level = RIDGE * max(float(np.trace(self.covariance)) / len(order), 1e-30)
        damped = self.covariance[order[:, None], order] + level * np.eye(len(order))
        factor = arithmetic().root(damped, level)
        ends = np.array([count * len(gone) // len(units) for count in counts], dtype=np.int64)
        first = len(order) - max(ends, default=0)
        weight = self.weight[order[first:]]
        # the factor is triangular: a row is the same whatever goes before its feature
        left = factor[first:, first:].T @ weight
        own = np.square(left).sum(axis=1) - level * np.square(weight).sum(axis=1)
        total = np.cumsum(own[::-1])
        found: FloatArray = np.maximum(total[ends - 1], 0.0) / self.variance
        return found


def consumer_moments(
    analysis: Analysis,
    source: CalibrationSource,
    session: SessionConfig,
    *,
    seed: int = 0,
    progress: Progress = silent,
    rows: RowCount = NORMAL.moments,
    spread: Spread | None = None,
) -> dict[Axis, list[Consumer]]:
    """The layers that read each channel axis, with the moments of what they read.

    Depthwise and grouped layers are looked through: the layer behind them is the consumer.  Integer
    products are taken as the float layers for which they stand.

    Args:
        analysis: the model.
        source: calibration data.
        session: how to run the model.
        seed: for the choice of rows.
        progress: told (stage, done, total).
        rows: of the second moments of a layer.
        spread: where runs of the model are made; None for this process.
    """
    twin = twin_of(analysis)
    if twin is None:
        return _moments(analysis, source, session, seed, progress, rows, spread)
    found = _moments(twin, source, session, seed, progress, rows, None)
    return {source_axis(analysis, twin, axis): several for axis, several in found.items()}


def gathering_for(analysis: Analysis, samples: int, seed: int, rows: RowCount) -> Gathering | None:
    """What gathers second moments while somebody else runs the model.

    Args:
        analysis: the model.
        samples: that there are.
        seed: for the choice of rows.
        rows: of the second moments of a layer.

    Returns:
        It; None where there is nothing to gather, or another model has to run for it.
    """
    if twin_of(analysis) is not None:
        return None
    readers = moments_layers(analysis)
    return _gathering(analysis, readers, samples, seed, rows) if readers else None


def _gathering(
    analysis: Analysis,
    readers: Sequence[tuple[Axis, Layer, Tail]],
    samples: int,
    seed: int,
    rows: RowCount,
) -> Gathering:
    readings = [Reading(layer, tail.total or layer.out) for _, layer, tail in readers]
    return Gathering(analysis, readings, seed, rows, min(SAMPLES, samples))


def _moments(
    analysis: Analysis,
    source: CalibrationSource,
    session: SessionConfig,
    seed: int,
    progress: Progress,
    rows: RowCount,
    spread: Spread | None,
) -> dict[Axis, list[Consumer]]:
    readers = moments_layers(analysis)
    if not readers:
        return {}
    gathering = _gathering(analysis, readers, source.samples, seed, rows)
    run_alone(gathering, source.part(0, gathering.samples), session, progress, spread)
    return gathered_consumers(gathering)


def gathered_consumers(gathering: Gathering) -> dict[Axis, list[Consumer]]:
    """The layers that read each channel axis, with the moments that have been gathered."""
    analysis = gathering.analysis
    found: dict[Axis, list[Consumer]] = {}
    for (axis, layer, tail), seen in zip(moments_layers(analysis), gathering.found(), strict=True):
        weight = real_constant(analysis.graph, layer.weight)
        if seen is None or weight is None or seen.variance <= 0.0:
            continue
        if not np.isfinite(seen.covariance).all():
            continue
        consumer = Consumer(
            axis=axis,
            channels=analysis.ir.table.extent(axis),
            covariance=seen.covariance,
            mean=seen.mean,
            weight=weight_blocks(layer, weight)[0] * tail.scale.reshape(-1),
            variance=seen.variance,
        )
        found.setdefault(axis, []).append(consumer)
    return found


def moments_layers(analysis: Analysis) -> list[tuple[Axis, Layer, Tail]]:
    """The layers of which second moments are kept: the axis that each reads, and what follows."""
    return [
        (axis, layer, _tail(analysis, layer))
        for axis, layer in original_layers(analysis)
        if layer.groups == 1 and _features(analysis.graph, layer) <= FEATURES
    ]


#: Channel axis -> the layers that read it.
Consumers = Mapping[Axis, list[Consumer]]
#: Layers that read a group, with the (units, channels of a unit) that they see of it.
Readers = list[tuple[Consumer, IntArray]]


def readers_of(group: Group, consumers: Consumers) -> Readers:
    """The layers that read a group, with the channels of its units."""
    return [(c, m.index) for m in group.members for c in consumers.get(m.axis, ())]


def _tail(analysis: Analysis, layer: Layer) -> Tail:
    tail = follow(analysis.graph, layer)
    return tail if runs_into_sum(analysis.facts, layer, tail) else tail.alone


def _features(graph: ModelGraph, layer: Layer) -> int:
    weight = real_constant(graph, layer.weight)
    return 0 if weight is None else weight.shape[layer.met] * prod(layer.kernel)
