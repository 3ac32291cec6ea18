"""Conditional information from partial correlations, in the units of the hash estimator.

For a Gaussian pair with (partial) correlation r the log density ratio is, under the joint law,
log t = -log(1 - r^2)/2 + r (a^2 - b^2)/2 with independent standard normal a, b (the coordinates
along x + y and x - y).  The Henze-Penrose information 1 - 2 E[1/(1 + t)] is E[tanh(log(t)/2)].
"""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt

from onnxslim_snacs.scores.snacs.hashing import standardised_rows
from onnxslim_snacs.scores.snacs.linear import (
    Parents,
    fitted_parents,
    shuffled_remainders,
)
from onnxslim_snacs.scores.snacs.quality import (
    ConnectivityQuality,
    quality_of_remainders,
    spread_over,
)

_NULL_CHILDREN = 64
_TABLE_END = 40.0  # -log(1 - r^2) beyond which the information is 1 in float64 terms of the table


def gaussian_information(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    *,
    ridge: float | None = None,
    noise: float = 0.1,
    seed: int = 0,
) -> tuple[npt.NDArray[np.float64], ConnectivityQuality]:
    """Estimate I(X_c ; Y_p | all other Y) for every pair as if the data were Gaussian.

    Args:
        x: pooled outputs of the consumer, axes (sample, child).
        y: pooled channels of the tensor that it reads, axes (sample, parent).
        ridge: shrinkage of the parents' correlation matrix towards the identity, 0 to 1; None for
            the oracle-approximating value (Chen et al. 2010, eq. 23).
        noise: variance added to every X, as a share of its variance.  A pooled pre-activation is
            nearly a linear function of the pooled input, so without it all partial correlations
            are 1; the default is about what cutting X into four buckets loses.
        seed: seed of the null (conditional copies of the parents).

    Returns:
        Information with axes (child, parent), 0 to 1, and what is known about its quality.
    """
    x_rows = standardised_rows(x).astype(np.float64)
    parents = fitted_parents(standardised_rows(y), ridge=ridge)
    information = henze_penrose(_partial(x_rows, parents, noise))
    children = spread_over(len(x_rows), _NULL_CHILDREN)
    null = henze_penrose(_of_copies(x_rows[children], parents, noise, seed))
    quality = quality_of_remainders(
        "gaussian", x_rows.shape[1], information, information[children], null
    )
    return information, quality


def partial_correlation(
    x: npt.ArrayLike, y: npt.ArrayLike, *, ridge: float | None = None, noise: float = 0.1
) -> npt.NDArray[np.float64]:
    """Give the partial correlation of X_c and Y_p given all other Y, from one inverse.

    Args:
        x: axes (sample, child).
        y: axes (sample, parent).
        ridge: as in `gaussian_information`.
        noise: as in `gaussian_information`.

    Returns:
        Partial correlations, axes (child, parent); 0 for a constant child or parent.
    """
    x_rows = standardised_rows(x).astype(np.float64)
    return _partial(x_rows, fitted_parents(standardised_rows(y), ridge=ridge), noise)


def henze_penrose(correlation: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Give 1 - 2 E[1/(1 + t)] of a Gaussian pair, by interpolation in a table.

    Args:
        correlation: correlations, any shape.

    Returns:
        Information from 0 to 1, the same shape; error below 1e-5.
    """
    places, values = _table()
    gap = np.maximum(1.0 - np.square(correlation), np.exp(-_TABLE_END))
    return np.interp(np.sqrt(-np.log(gap)), places, values)


def _partial(
    x_rows: npt.NDArray[np.float64], parents: Parents, noise: float
) -> npt.NDArray[np.float64]:
    """Turn regression slopes b into b / sqrt(b^2 + s^2 L_pp), s^2 = what all Y leave of X."""
    slopes = parents.slopes(x_rows)
    residual = np.square(x_rows - slopes @ parents.rows).mean(axis=1) + noise
    return _of_slopes(slopes, residual, parents.precision)


def _of_copies(
    x_rows: npt.NDArray[np.float64], parents: Parents, noise: float, seed: int
) -> npt.NDArray[np.float64]:
    """Partial correlations with conditional copies of the parents, axes (child, parent)."""
    samples = x_rows.shape[1]
    slopes = parents.slopes(x_rows)
    left = x_rows - slopes @ parents.rows
    copies = shuffled_remainders(parents, np.random.default_rng(seed))
    own = np.einsum("pn,pn->p", parents.left, copies) / samples
    size = np.maximum(np.square(copies).mean(axis=1), 1e-12)
    among = (left @ copies.T / samples + slopes * own) / size
    residual = np.square(left).mean(axis=1)[:, None] + np.square(slopes) / parents.precision
    return _of_slopes(among, residual - np.square(among) * size + noise, 1.0 / size)


def _of_slopes(
    slopes: npt.NDArray[np.float64],
    residual: npt.NDArray[np.float64],
    precision: npt.NDArray[np.float64],
) -> npt.NDArray[np.float64]:
    """Give b / sqrt(b^2 + s^2 / v), v = 1 / precision the variance that the others leave of Y."""
    wide = residual if residual.ndim == 2 else residual[:, None]
    scale = np.square(slopes) + np.maximum(wide, 1e-12) * precision
    partial: npt.NDArray[np.float64] = slopes / np.sqrt(scale)
    return partial


@functools.cache
def _table() -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Tabulate the information over sqrt(-log(1 - r^2)).

    With a = sqrt(2w) cos(f/2), b = sqrt(2w) sin(f/2): (a^2 - b^2)/2 = w cos f, w exponential, f
    uniform on the circle, so Gauss-Legendre on the distribution of w and equal steps in f.
    """
    places = np.linspace(0.0, np.sqrt(_TABLE_END), 513)
    gap = np.exp(-np.square(places))  # 1 - r^2
    angles = (np.arange(96) + 0.5) * (np.pi / 96)
    nodes, weights = np.polynomial.legendre.leggauss(160)
    radius = 25.0 * (nodes + 1.0) / 2.0 * (nodes + 1.0)  # 0 to 50, dense near 0
    density = weights * 25.0 * (nodes + 1.0) * np.exp(-radius)
    swing = np.outer(radius, np.cos(angles)).ravel()
    mass = np.repeat(density, len(angles)) / len(angles)
    values = np.array(
        [np.tanh((np.sqrt(1.0 - g) * swing - 0.5 * np.log(g)) / 2.0) @ mass for g in gap]
    )
    return places, np.clip(values, 0.0, 1.0)
