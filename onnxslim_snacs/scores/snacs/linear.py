"""The linear part of parents in each other: taken out, and put back with its remainder shuffled.

With P the inverse covariance of all parents, what the others leave of parent p is (P y)_p / P_pp,
so that one inverse gives the remainder of every parent at once.  Groups of parents are treated
alike, with the block of P in place of P_pp.  Where there are more parents than samples, P is a
diagonal less a product over the samples (Woodbury), and no matrix over pairs of parents is made.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from onnxslim_snacs.arithmetic.current import arithmetic
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
    return Parents(values, *arithmetic().fitted(values, starts, ridge))


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
