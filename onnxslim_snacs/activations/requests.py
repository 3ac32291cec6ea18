"""What can be asked of a model's activations, and what is answered.

All of it is reduced inside the graph: what leaves the device is small, whatever the activations'
size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from onnxslim_snacs.activations.inputs import InputSpec, batch_extent
from onnxslim_snacs.model.facts import ModelFacts

Vector: TypeAlias = NDArray[np.float64]  # (channel,)


@dataclass(frozen=True, slots=True)
class PooledRequest:
    """The mean over all positions of a sample, for each channel: rows of (channel,).

    Attributes:
        tensor: the activation.
        channel_dim: its channel dimension.
        sample_dim: its sample dimension, or a multiple of it (batch and windows in one dimension,
            the sample the slower); None if there is none, which costs a run for every sample.
    """

    tensor: str
    channel_dim: int = 1
    sample_dim: int | None = 0


@dataclass(frozen=True, slots=True)
class MomentRequest:
    """Count, sum and sum of squares over all samples and positions, for each channel.

    Attributes:
        tensor: the activation.
        channel_dim: its channel dimension.
    """

    tensor: str
    channel_dim: int = 1


@dataclass(frozen=True, slots=True)
class RangeRequest:
    """Smallest and largest value over all samples and positions, for each channel.

    Attributes:
        tensor: the activation.
        channel_dim: its channel dimension.
    """

    tensor: str
    channel_dim: int = 1


@dataclass(frozen=True, slots=True)
class GramRequest:
    """Products of all pairs of channels, summed over all samples and positions.

    Attributes:
        tensor: the activation.
        channel_dim: its channel dimension.
    """

    tensor: str
    channel_dim: int = 1


Request: TypeAlias = PooledRequest | MomentRequest | RangeRequest | GramRequest


@dataclass(frozen=True, slots=True)
class ChannelMoments:
    """First and second moments by channel.

    Attributes:
        count: number of positions of all samples.
        sum: (channel,) sum of the values.
        square_sum: (channel,) sum of their squares.
    """

    count: int
    sum: Vector
    square_sum: Vector

    @property
    def mean(self) -> Vector:
        """(channel,) mean."""
        return self.sum / self.count

    @property
    def variance(self) -> Vector:
        """(channel,) variance, dividing by the count, as BatchNormalization does."""
        return np.maximum(self.square_sum / self.count - self.mean**2, 0.0)


@dataclass(frozen=True, slots=True)
class Range:
    """Extremes by channel.

    Attributes:
        low: (channel,) smallest value.
        high: (channel,) largest value.
    """

    low: Vector
    high: Vector


@dataclass(frozen=True, slots=True)
class Gram:
    """Second moments of all pairs of channels.

    Attributes:
        count: number of positions of all samples.
        sum: (channel,) sum of the values.
        products: (channel, channel) sum of x x^T.
    """

    count: int
    sum: Vector
    products: NDArray[np.float64]

    @property
    def covariance(self) -> NDArray[np.float64]:
        """(channel, channel) covariance, dividing by the count."""
        mean = self.sum / self.count
        return self.products / self.count - np.outer(mean, mean)


@dataclass(frozen=True, slots=True)
class Statistics:
    """What a pass over the samples has found.

    Attributes:
        samples: number of samples seen.
        rows_cap: how many rows were to be kept at the most.
        seed: of the choice of rows.
        index: (row,) numbers of the samples whose rows were kept, ascending; the same for all
            pooled tensors, so that rows of different tensors belong together.
        labels: (row,) their classes, if known.
        pooled: request -> (row, channel).
        moments: request -> moments.
        ranges: request -> extremes.
        grams: request -> second moments.
    """

    samples: int
    rows_cap: int
    seed: int
    index: NDArray[np.int64]
    labels: NDArray[np.int64] | None
    pooled: Mapping[PooledRequest, NDArray[np.float32]]
    moments: Mapping[MomentRequest, ChannelMoments]
    ranges: Mapping[RangeRequest, Range]
    grams: Mapping[GramRequest, Gram]


def pooled_request(
    facts: ModelFacts, tensor: str, channel_dim: int, specs: Sequence[InputSpec]
) -> PooledRequest:
    """A pooled request with the sample dimension that the shapes tell of.

    Args:
        facts: shapes from runs with different batch sizes.
        tensor: the activation.
        channel_dim: its channel dimension, may be negative.
        specs: the model's inputs, which tell where samples lie.
    """
    shapes = facts.samples(tensor)
    channel = channel_dim % len(shapes[0]) if shapes else channel_dim
    return PooledRequest(tensor, channel, _sample_dim(facts, shapes, channel, specs))


def _sample_dim(
    facts: ModelFacts,
    shapes: tuple[tuple[int, ...], ...],
    channel: int,
    specs: Sequence[InputSpec],
) -> int | None:
    """The first dimension that grows with the batch; where nothing grows, the first."""
    batched, _ = batch_extent(specs)
    inputs = facts.samples(specs[0].name)
    if not batched or not shapes or not inputs:
        return None
    sizes = [shape[specs[0].sample_dim] for shape in inputs]
    for dim in range(len(shapes[0])):
        extents = [shape[dim] for shape in shapes]
        shares = {extent / size for extent, size in zip(extents, sizes, strict=True)}
        if dim != channel and len(shares) == 1 and shares.pop().is_integer():
            return dim
    return None
