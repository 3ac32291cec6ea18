"""The linear part of parents in each other: taken out, and put back with its remainder shuffled.

With P the inverse covariance of all parents, what the others leave of parent p is (P y)_p / P_pp,
so that one inverse gives the remainder of every parent at once.  Groups of parents are treated
alike, with the block of P in place of P_pp.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from onnxslim_snacs.scores.snacs.hashing import FloatRows

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Parents:
    """Parents with their inverse correlation.

    Attributes:
        rows: standardised, axes (parent, sample).
        inverse: axes (parent, parent).
        left: what the other parents leave of each, axes (parent, sample); of a group, what those
            outside it leave of its members.
    """

    rows: FloatArray
    inverse: FloatArray
    left: FloatArray


def fitted_parents(
    rows: FloatRows, starts: npt.NDArray[np.intp] | None = None, ridge: float | None = None
) -> Parents:
    """Fit every parent, or group of parents, to the others.

    Args:
        rows: standardised, axes (parent, sample).
        starts: first parent of each contiguous group; None for single parents.
        ridge: shrinkage of the correlation matrix, see `inverse_correlation`.
    """
    values = rows.astype(np.float64)
    inverse = inverse_correlation(values, ridge)
    whole = inverse @ values
    if starts is None or len(starts) == len(rows):
        return Parents(values, inverse, whole / np.diag(inverse)[:, None])
    left = np.empty_like(whole)
    for start, stop in zip(starts, [*starts[1:], len(rows)], strict=True):
        group = slice(start, stop)
        left[group] = np.linalg.solve(inverse[group, group], whole[group])
    return Parents(values, inverse, left)


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


def shuffled_remainders(parents: Parents, rng: np.random.Generator) -> FloatArray:
    """What the other parents leave of conditional copies of single parents, axes (parent, sample).

    That is the shuffled remainder, less what the other parents tell of it by chance.
    """
    samples = parents.rows.shape[1]
    order = rng.random(parents.left.shape, dtype=np.float32).argsort(axis=1)
    moved = np.take_along_axis(parents.left, order, axis=1)
    fit = (moved @ parents.rows.T / samples) @ parents.inverse
    # a fit to all parents takes the parent's own remainder with it: that part is given back
    own = np.diag(fit)[:, None] * parents.left
    rest: FloatArray = moved - fit @ parents.rows + own
    return rest


def inverse_correlation(y_rows: FloatArray, ridge: float | None = None) -> FloatArray:
    """Invert (1 - ridge) S + ridge I, S the parents' correlation matrix.

    Args:
        y_rows: standardised, axes (parent, sample).
        ridge: shrinkage towards the identity, 0 to 1; None for the oracle-approximating value
            (Chen et al. 2010, eq. 23).
    """
    parents, samples = y_rows.shape
    correlation = y_rows @ y_rows.T / samples
    share = _oracle_shrinkage(correlation, samples) if ridge is None else ridge
    shrunk = (1.0 - share) * correlation
    # a constant parent has an empty row: it keeps slope 0, and the inverse must exist
    shrunk[np.diag_indices(parents)] += np.where(np.diag(correlation) > 0, share, 1.0) + 1e-10
    inverse: FloatArray = np.linalg.inv(shrunk)
    return inverse


def _oracle_shrinkage(correlation: FloatArray, samples: int) -> float:
    """Give the oracle-approximating shrinkage towards a multiple of the identity."""
    parents = len(correlation)
    square = float(np.square(correlation).sum())
    trace = float(np.trace(correlation)) ** 2
    below = (samples + 1.0 - 2.0 / parents) * (square - trace / parents)
    if below <= 0:
        return 1.0 if parents > 1 else 0.0
    return min(1.0, ((1.0 - 2.0 / parents) * square + trace) / below)
