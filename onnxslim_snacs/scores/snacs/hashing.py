"""Hash channels and their complements into integer buckets.

Of a pair (child c, parent p) three things are hashed: X = the child's output, Y = the parent's
channel, Z = all other parent channels (method 3.3).  X and Y get quantile buckets.  Z differs for
every parent, so it is never formed: random projections of the whole tensor, minus the parent's own
rank-one contribution, are projections of its complement.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from onnxslim_snacs.arithmetic.current import arithmetic
from onnxslim_snacs.arithmetic.kernels import Buckets

FloatRows: TypeAlias = npt.NDArray[np.float32]  # (units, samples)

MAX_BUCKETS = 256
_DEAD = 1e-6  # spread, as a share of the largest magnitude, that float32 sums may leave by rounding


def standardised_rows(activations: npt.ArrayLike) -> FloatRows:
    """Scale every channel to mean 0 and variance 1; a constant channel becomes 0.

    Args:
        activations: pooled activations, axes (sample, channel).

    Returns:
        Array with axes (channel, sample).
    """
    rows = np.asarray(activations, dtype=np.float64).T
    centred = rows - rows.mean(axis=1, keepdims=True)
    spread = centred.std(axis=1, keepdims=True)
    alive = spread > _DEAD * np.maximum(np.abs(rows).max(axis=1, keepdims=True), 1e-30)
    scaled = np.where(alive, centred / np.where(alive, spread, 1.0), 0.0)
    return np.ascontiguousarray(scaled, dtype=np.float32)


def quantile_buckets(values: FloatRows, levels: int) -> Buckets:
    """Cut every row at its own quantiles into equally filled buckets.

    Equal values always share a bucket, so a row with ties may use fewer than `levels`.

    Args:
        values: axes (unit, sample).
        levels: number of buckets, 1 to 256.

    Returns:
        Bucket numbers from 0 to levels - 1, axes (unit, sample).
    """
    return arithmetic().quantile_buckets(values, levels)


def group_starts(channels: int, groups: int | None) -> npt.NDArray[np.intp]:
    """Give the first channel of each contiguous, (nearly) equal group.

    Args:
        channels: number of channels.
        groups: number of groups wanted; None, or more than there are channels: one per channel.

    Returns:
        Increasing channel indices, axis (group).
    """
    count = channels if groups is None else min(groups, channels)
    return np.arange(count, dtype=np.intp) * channels // count


def hash_units(
    rows: FloatRows, starts: npt.NDArray[np.intp], buckets: int, rng: np.random.Generator
) -> Buckets:
    """Hash each group of channels on its own (the X and the Y of a pair).

    One channel per group gives its quantile buckets, whatever the draw; a larger group is projected
    at random first.

    Args:
        rows: standardised channels, axes (channel, sample).
        starts: first channel of each group, axis (group).
        buckets: upper bound on the number of buckets of a group.
        rng: source of the projections.

    Returns:
        Bucket numbers below `buckets`, axes (group, sample).
    """
    if len(starts) == len(rows):
        return quantile_buckets(rows, buckets)
    size = int(np.diff(starts, append=len(rows)).max())
    count, levels = split_levels(buckets, size)
    weights = rng.standard_normal((count, len(rows))).astype(np.float32)
    return arithmetic().hash_groups(rows, weights, starts, levels)


def hash_complements(
    rows: FloatRows, starts: npt.NDArray[np.intp], buckets: int, rng: np.random.Generator
) -> Buckets:
    """Hash, for each group of channels, all the channels outside it (the Z of a pair).

    Args:
        rows: standardised channels, axes (channel, sample).
        starts: first channel of each group, axis (group).
        buckets: upper bound on the number of buckets.
        rng: source of the projections.

    Returns:
        Bucket numbers below `buckets`, axes (group, sample); all 0 where there is one group only.
    """
    channels, samples = rows.shape
    groups = len(starts)
    if groups == 1 or buckets == 1:
        return np.zeros((groups, samples), dtype=np.uint8)
    count, levels = split_levels(buckets, channels - channels // groups)
    weights = rng.standard_normal((channels, count))
    return arithmetic().hash_outside(rows, weights, starts, levels)


def split_levels(buckets: int, dimensions: int) -> tuple[int, int]:
    """Share a number of buckets out over projections.

    Args:
        buckets: upper bound on the product.
        dimensions: dimensions of the thing to hash, an upper bound on the projections.

    Returns:
        (number of projections, quantile levels of each): sign bits where there are dimensions
        enough, more levels where there are not.
    """
    count = max(1, min(dimensions, buckets.bit_length() - 1))
    levels = int(buckets ** (1.0 / count) + 1e-9)
    return count, max(levels, 1)


def singleton_share(buckets: Buckets) -> float:
    """Give the share of samples that are alone in their bucket, averaged over the units.

    Args:
        buckets: axes (unit, sample).

    Returns:
        A share from 0 to 1; at 1 every conditional score is 0 by construction (method 3.2).
    """
    units, samples = buckets.shape
    flat = buckets.astype(np.intp) + MAX_BUCKETS * np.arange(units)[:, None]
    counts = np.bincount(flat.ravel(), minlength=units * MAX_BUCKETS)
    return float(np.count_nonzero(counts == 1) / (units * samples))
