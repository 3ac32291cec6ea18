"""Results of single runs as sums, and sums of sums."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from onnxslim_snacs.activations.requests import (
    ChannelMoments,
    Gram,
    GramRequest,
    MomentRequest,
    PooledRequest,
    Range,
    RangeRequest,
    Request,
    Statistics,
    Vector,
)

Sum: TypeAlias = ChannelMoments | Gram | Range
Sums: TypeAlias = dict[Request, Sum]
Results: TypeAlias = Mapping[str, NDArray[Any]]


def sums_of_run(outputs: Mapping[Request, Mapping[str, str]], results: Results) -> Sums:
    """What one run has found.

    Args:
        outputs: request -> names of its reductions by kind, see `Instrumented`.
        results: name -> value of the reduction.
    """
    return {
        request: _sum(request, {kind: results[name] for kind, name in names.items()})
        for request, names in outputs.items()
        if not isinstance(request, PooledRequest)
    }


def add_sums(sums: Sums, found: Sums, weight: float = 1.0) -> None:
    """Add sums to sums.

    Args:
        sums: changed.
        found: what to add.
        weight: by which counts and sums are multiplied; extremes have no weight.
    """
    for request, value in found.items():
        sums[request] = _added(sums[request], value, weight) if request in sums else value


def _sum(request: Request, found: Results) -> Sum:
    if isinstance(request, RangeRequest):
        return Range(found["low"].astype(np.float64), found["high"].astype(np.float64))
    shape = [int(d) for d in found["shape"]]
    channels = shape[request.channel_dim]
    count = int(np.prod(shape)) // max(1, channels)
    total = _total(found["rows"], channels, count)
    if isinstance(request, MomentRequest):
        return ChannelMoments(count, total, _total(found["squares"], channels, count))
    return Gram(count, total, found["products"].astype(np.float64))


def _total(means: NDArray[Any], channels: int, count: int) -> Vector:
    """(channel,) sum of all values from means over equal shares of them, (share, channel, ...)."""
    if count == 0:
        return np.zeros(channels)
    rows = means.reshape(-1, channels).astype(np.float64)
    total: Vector = rows.mean(axis=0) * count
    return total


def _added(a: Sum, b: Sum, weight: float) -> Sum:
    if isinstance(a, Range) and isinstance(b, Range):
        return Range(np.minimum(a.low, b.low), np.maximum(a.high, b.high))
    if isinstance(a, ChannelMoments) and isinstance(b, ChannelMoments):
        return ChannelMoments(
            a.count + round(weight * b.count),
            a.sum + weight * b.sum,
            a.square_sum + weight * b.square_sum,
        )
    if isinstance(a, Gram) and isinstance(b, Gram):
        return Gram(
            a.count + round(weight * b.count),
            a.sum + weight * b.sum,
            a.products + weight * b.products,
        )
    raise TypeError(f"{type(a).__name__} and {type(b).__name__} do not add up")


def moments(sums: Sums) -> dict[MomentRequest, ChannelMoments]:
    """The moments among the sums."""
    return {
        r: s
        for r, s in sums.items()
        if isinstance(r, MomentRequest) and isinstance(s, ChannelMoments)
    }


def ranges(sums: Sums) -> dict[RangeRequest, Range]:
    """The extremes among the sums."""
    return {r: s for r, s in sums.items() if isinstance(r, RangeRequest) and isinstance(s, Range)}


def grams(sums: Sums) -> dict[GramRequest, Gram]:
    """The second moments of pairs among the sums."""
    return {r: s for r, s in sums.items() if isinstance(r, GramRequest) and isinstance(s, Gram)}


def all_sums(statistics: Statistics) -> Sums:
    """The sums in statistics, of every kind."""
    pairs: list[tuple[Request, Sum]] = [
        *statistics.moments.items(),
        *statistics.ranges.items(),
        *statistics.grams.items(),
    ]
    return dict(pairs)


def products_bytes(requests: Iterable[Request], shapes: Mapping[str, tuple[int, ...]]) -> int:
    """Bytes that the second moments take.

    Args:
        requests: what is asked for.
        shapes: tensor -> shape.
    """
    return sum(
        8 * shapes[r.tensor][r.channel_dim] ** 2 for r in requests if isinstance(r, GramRequest)
    )
