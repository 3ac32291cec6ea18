"""Rows and random projections of them cut at their quantiles, in numpy (`scores.snacs.hashing`)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from onnxslim_snacs.arithmetic.kernels import Buckets, FloatArray, Rows, Starts

GRID = 4096.0  # steps per standard deviation of a projection


def quantile_buckets(values: Rows, levels: int) -> Buckets:
    """Cut every row (unit, sample) at its own quantiles into equally filled buckets."""
    ranks = quantile_ranks(values.shape[1], levels)
    buckets = np.zeros(values.shape, dtype=np.uint8)
    if not ranks:
        return buckets
    cuts = np.partition(values, ranks, axis=1)[:, ranks]
    for column in range(len(ranks)):
        buckets += values >= cuts[:, column, None]
    return buckets


def quantile_ranks(samples: int, levels: int) -> list[int]:
    """Which of the sorted values of a row the buckets begin with, the first one's left out."""
    return sorted({samples * level // levels for level in range(1, levels)} - {0})


def hash_groups(rows: Rows, weights: Rows, starts: Starts, levels: int) -> Buckets:
    """Hash each group of channels by projections of its own.

    Args:
        rows: standardised channels, axes (channel, sample).
        weights: axes (projection, channel).
        starts: first channel of each group, axis (group).
        levels: quantile levels of each projection.

    Returns:
        Bucket numbers, axes (group, sample).
    """
    projected = np.stack([_weighted_sums(rows, weight, starts) for weight in weights])
    projected = np.einsum("qgn,gqr->rgn", projected, _decorrelation(projected.transpose(1, 0, 2)))
    return _combine([quantile_buckets(_snapped(values), levels) for values in projected], levels)


def hash_outside(rows: Rows, weights: FloatArray, starts: Starts, levels: int) -> Buckets:
    """Hash, for each group of channels, all the channels outside it.

    Projections of the whole, minus those of the group itself, are projections of the rest.

    Args:
        rows: standardised channels, axes (channel, sample).
        weights: axes (channel, projection).
        starts: first channel of each group, axis (group).
        levels: quantile levels of each projection.

    Returns:
        Bucket numbers, axes (group, sample).
    """
    # float64 here: the bits must not depend on the number of BLAS threads
    projected = rows.T.astype(np.float64) @ weights
    mix = _decorrelation(projected.T[None])[0]
    mixed = (weights @ mix).astype(np.float32)
    whole = (projected @ mix).astype(np.float32)
    digits = []
    for values, weight in zip(whole.T, mixed.T, strict=True):
        own = _weighted_sums(rows, weight, starts)
        digits.append(quantile_buckets(_snapped(values - own), levels))
    return _combine(digits, levels)


def _weighted_sums(rows: Rows, weights: Rows, starts: Starts) -> Rows:
    """Sum weight * row within each group, axes (group, sample)."""
    if len(starts) == len(rows):
        return rows * weights[:, None]
    from scipy.sparse import csr_array

    ends = np.append(starts, len(rows))
    mixing = csr_array((weights, np.arange(len(rows)), ends), shape=(len(starts), len(rows)))
    sums: Rows = mixing @ rows
    return sums


def _combine(digits: list[Buckets], levels: int) -> Buckets:
    """Read one bucket number off the digits of several projections, first digit leading."""
    total = np.zeros_like(digits[0])
    for digit in digits:
        total = (total * np.uint8(levels) + digit).astype(np.uint8)
    return total


def _snapped(values: Rows) -> Rows:
    """Round projections of variance 1, in place, to a grid far above their rounding errors.

    A channel subtracted from a sum leaves dust, which must neither break ties nor fill buckets
    where nothing else is left.
    """
    values *= np.float32(GRID)
    return np.rint(values, out=values)


def _decorrelation(projected: npt.NDArray[np.floating]) -> FloatArray:
    """Give the symmetric maps that make projections uncorrelated with variance 1.

    Activations share few strong directions; raw projections would all follow those, and their
    sign patterns would fill a few of the buckets only.

    Args:
        projected: axes (unit, projection, sample).

    Returns:
        Maps with axes (unit, projection, projection).
    """
    values = projected.astype(np.float64)
    covariance = np.einsum("gqn,grn->gqr", values, values) / values.shape[2]
    scale, vectors = np.linalg.eigh(covariance)
    floor = np.maximum(1e-6 * scale[:, -1:], 1e-12)
    roots = 1.0 / np.sqrt(np.maximum(scale, floor))
    maps: FloatArray = np.einsum("gqs,gs,grs->gqr", vectors, roots, vectors)
    return maps
