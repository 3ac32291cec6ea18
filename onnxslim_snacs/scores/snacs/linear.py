"""The linear part of parents in each other: taken out, and put back with its remainder shuffled.

With P the inverse covariance of all parents, what the others leave of parent p is (P y)_p / P_pp,
so that one inverse gives the remainder of every parent at once.  Groups of parents are treated
alike, with the block of P in place of P_pp.  Where there are more parents than samples, P is a
diagonal less a product over the samples (Woodbury), and no matrix over pairs of parents is made.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from onnxslim_snacs.scores.snacs.hashing import FloatRows

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Parents:
    """Parents and what their inverse correlation P makes of them.

    Attributes:
        rows: standardised, axes (parent, sample).
        whole: P times the rows, axes (parent, sample); over the number of samples, what a product
            with it gives are the slopes of a fit to all parents.
        precision: the diagonal of P, (parent,).
        left: what the other parents leave of each, axes (parent, sample); of a group, what those
            outside it leave of its members.
    """

    rows: FloatArray
    whole: FloatArray
    precision: FloatArray
    left: FloatArray

    def slopes(self, values: FloatArray) -> FloatArray:
        """Of a linear fit of each value to all parents, axes (value, parent).

        Args:
            values: axes (value, sample).
        """
        found: FloatArray = values @ self.whole.T / self.rows.shape[1]
        return found


def fitted_parents(
    rows: FloatRows, starts: npt.NDArray[np.intp] | None = None, ridge: float | None = None
) -> Parents:
    """Fit every parent, or group of parents, to the others.

    Args:
        rows: standardised, axes (parent, sample).
        starts: first parent of each contiguous group; None for single parents.
        ridge: shrinkage of the correlation matrix S towards the identity, (1 - ridge) S + ridge I,
            0 to 1; None for the oracle-approximating value (Chen et al. 2010, eq. 23).
    """
    values = rows.astype(np.float64)
    invert = _through_parents if len(values) <= values.shape[1] else _through_samples
    inverse = invert(values, ridge)
    if starts is None or len(starts) == len(rows):
        left = inverse.whole / inverse.diagonal[:, None]
        return Parents(values, inverse.whole, inverse.diagonal, left)
    left = np.empty_like(inverse.whole)
    for start, stop in zip(starts, [*starts[1:], len(rows)], strict=True):
        group = slice(start, stop)
        left[group] = np.linalg.solve(inverse.block(group), inverse.whole[group])
    return Parents(values, inverse.whole, inverse.diagonal, left)


def conditional_copies(
    parents: Parents, starts: npt.NDArray[np.intp], rng: np.random.Generator
) -> FloatRows:
    """Parents that depend on the others as they do, and on nothing else.

    Of each, the linear fit to the others stays; what that leaves is shuffled among the samples, for
    all members of a group alike.  A consumer that is independent of a parent given the others
    cannot tell it from its copy, as far as that dependence is linear (conditional
    randomisation, Candes et al. 2018).

    Args:
        parents: the parents.
        starts: first parent of each contiguous group.
        rng: source of the shuffle.

    Returns:
        Axes (parent, sample).
    """
    rows = parents.rows
    order = rng.random((len(starts), rows.shape[1]), dtype=np.float32).argsort(axis=1)
    sizes = np.diff(starts, append=len(rows))
    shuffled = np.take_along_axis(parents.left, np.repeat(order, sizes, axis=0), axis=1)
    return (rows - parents.left + shuffled).astype(np.float32)


def shuffled_remainders(
    parents: Parents, rng: np.random.Generator, some: npt.NDArray[np.intp] | None = None
) -> FloatArray:
    """What the other parents leave of conditional copies of single parents, axes (parent, sample).

    That is the shuffled remainder, less what the other parents tell of it by chance.

    Args:
        parents: the parents.
        rng: source of the shuffle.
        some: of which parents; None for all.
    """
    chosen = np.arange(len(parents.rows)) if some is None else some
    left = parents.left[chosen]
    order = rng.random(left.shape, dtype=np.float32).argsort(axis=1)
    moved = np.take_along_axis(left, order, axis=1)
    # a fit to all parents takes the parent's own remainder with it: that part is given back
    own = np.einsum("pn,pn->p", moved, parents.whole[chosen]) / parents.rows.shape[1]
    rest: FloatArray = moved - _refitted(parents, moved) + own[:, None] * left
    return rest


def _refitted(parents: Parents, values: FloatArray) -> FloatArray:
    """A linear fit of each value to all parents, axes (value, sample)."""
    count, samples = parents.rows.shape
    if samples < count:
        small: FloatArray = values @ (parents.whole.T @ parents.rows) / samples
        return small
    whole: FloatArray = parents.slopes(values) @ parents.rows
    return whole


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
    share = (
        _shrinkage(float(np.square(correlation).sum()), own, samples) if ridge is None else ridge
    )
    shrunk = (1.0 - share) * correlation
    shrunk[np.diag_indices(count)] += _floor(own, share)
    inverse: FloatArray = np.linalg.inv(shrunk)
    return _Inverse(inverse @ rows, np.diag(inverse), lambda group: inverse[group, group])


def _through_samples(rows: FloatArray, ridge: float | None) -> _Inverse:
    """From the matrix over pairs of samples: (D + U U')^-1 = D^-1 - F F'."""
    samples = rows.shape[1]
    products = rows.T @ rows / samples
    own = np.square(rows).mean(axis=1)
    share = _shrinkage(float(np.square(products).sum()), own, samples) if ridge is None else ridge
    floor = _floor(own, share)
    root = np.sqrt((1.0 - share) / samples)
    scaled = root * rows / floor[:, None]
    factor = np.linalg.cholesky(np.eye(samples) + root * (rows.T @ scaled))
    f = np.linalg.solve(factor, scaled.T).T

    def block(group: slice) -> FloatArray:
        inner: FloatArray = np.diag(1.0 / floor[group]) - f[group] @ f[group].T
        return inner

    whole = rows / floor[:, None] - f @ (f.T @ rows)
    return _Inverse(whole, 1.0 / floor - np.square(f).sum(axis=1), block)


def _floor(own: FloatArray, share: float) -> FloatArray:
    """(parent,) what is added to the diagonal.

    A constant parent has an empty row: it keeps slope 0, and the inverse must exist.
    """
    return np.where(own > 0, share, 1.0) + 1e-10


def _shrinkage(square: float, own: FloatArray, samples: int) -> float:
    """Give the oracle-approximating shrinkage towards a multiple of the identity.

    Args:
        square: sum of the squares of the correlation matrix.
        own: its diagonal.
        samples: from which it comes.
    """
    parents = len(own)
    trace = float(own.sum()) ** 2
    below = (samples + 1.0 - 2.0 / parents) * (square - trace / parents)
    if below <= 0:
        return 1.0 if parents > 1 else 0.0
    return min(1.0, ((1.0 - 2.0 / parents) * square + trace) / below)
