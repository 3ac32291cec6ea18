"""Parents fitted to each other through one inverse, in numpy (`scores.snacs.linear`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from onnxslim_snacs.arithmetic.kernels import Fitted, FloatArray, Starts
from onnxslim_snacs.arithmetic.shrunk import floor_of, shrinkage


def fitted(rows: FloatArray, starts: Starts | None, ridge: float | None) -> Fitted:
    """Fit every parent, or group of parents, to the others.

    Args:
        rows: standardised, axes (parent, sample).
        starts: first parent of each contiguous group; None for single parents.
        ridge: shrinkage of the correlation matrix; None for the oracle-approximating value.
    """
    invert = _through_parents if len(rows) <= rows.shape[1] else _through_samples
    inverse = invert(rows, ridge)
    if starts is None or len(starts) == len(rows):
        left = inverse.whole / inverse.diagonal[:, None]
        return Fitted(inverse.whole, inverse.diagonal, left)
    left = np.empty_like(inverse.whole)
    for start, stop in zip(starts, [*starts[1:], len(rows)], strict=True):
        group = slice(start, stop)
        left[group] = np.linalg.solve(inverse.block(group), inverse.whole[group])
    return Fitted(inverse.whole, inverse.diagonal, left)


@dataclass(frozen=True, slots=True)
class _Inverse:
    """What is asked of the inverse correlation.

    Attributes:
        whole: times the parents, axes (parent, sample).
        diagonal: (parent,).
        block: of contiguous parents, axes (parent, parent).
    """

    whole: FloatArray
    diagonal: FloatArray
    block: Callable[[slice], FloatArray]


def _through_parents(rows: FloatArray, ridge: float | None) -> _Inverse:
    """From the matrix over pairs of parents."""
    count, samples = rows.shape
    correlation = rows @ rows.T / samples
    own = np.diag(correlation)
    share = shrinkage(float(np.square(correlation).sum()), own, samples) if ridge is None else ridge
    shrunk = (1.0 - share) * correlation
    shrunk[np.diag_indices(count)] += floor_of(own, share)
    inverse: FloatArray = np.linalg.inv(shrunk)
    return _Inverse(inverse @ rows, np.diag(inverse), lambda group: inverse[group, group])


def _through_samples(rows: FloatArray, ridge: float | None) -> _Inverse:
    """From the matrix over pairs of samples: (D + U U')^-1 = D^-1 - F F'."""
    samples = rows.shape[1]
    products = rows.T @ rows / samples
    own = np.square(rows).mean(axis=1)
    share = shrinkage(float(np.square(products).sum()), own, samples) if ridge is None else ridge
    floor = floor_of(own, share)
    root = np.sqrt((1.0 - share) / samples)
    scaled = root * rows / floor[:, None]
    factor = np.linalg.cholesky(np.eye(samples) + root * (rows.T @ scaled))
    f = np.linalg.solve(factor, scaled.T).T

    def block(group: slice) -> FloatArray:
        inner: FloatArray = np.diag(1.0 / floor[group]) - f[group] @ f[group].T
        return inner

    whole = rows / floor[:, None] - f @ (f.T @ rows)
    return _Inverse(whole, 1.0 / floor - np.square(f).sum(axis=1), block)
