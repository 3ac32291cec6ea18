"""Energy statistics of what a block adds, by exact distance matrices (Szekely and Rizzo 2013).

Energy distance: E(X, Y) = 2 E|X - Y| - E|X - X'| - E|Y - Y'|.  PED takes its largest value between
the samples of the most frequent class and those of another one (Soltani et al., arXiv 2201.11209;
the text says of predicted classes), over the root of the dimension, so that blocks of different
shapes compare.  The distance correlation with what the model answers needs no classes and lies in
0 ... 1.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]


def distances(x: NDArray[np.floating]) -> Numbers:
    """(n, n) Euclidean distances between rows of (n, d), from one product."""
    rows = x.astype(np.float64)
    rows = rows - rows.mean(axis=0)
    squares = np.square(rows).sum(axis=1)
    found = squares[:, None] + squares - 2.0 * (rows @ rows.T)
    np.fill_diagonal(found, 0.0)
    roots: Numbers = np.sqrt(np.maximum(found, 0.0))
    return roots


def energy(apart: Numbers, a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    """The energy distance of two sets of samples, with the diagonals (V-statistic).

    Args:
        apart: (n, n) distances of all samples.
        a: (n,) which of them are of the first set.
        b: (n,) which of them are of the second.
    """
    between, first, second = (apart[np.ix_(i, j)].mean() for i, j in ((a, b), (a, a), (b, b)))
    return float(2.0 * between - first - second)


def class_energy(apart: Numbers, labels: NDArray[np.integer], size: int) -> float:
    """PED: how far the most frequent class is from another one, at the most.

    Args:
        apart: (n, n) distances between what the block adds to the samples.
        labels: (n,) classes.
        size: numbers that it adds to a sample.
    """
    classes, counts = np.unique(labels, return_counts=True)
    first = classes[counts.argmax()]
    others = (energy(apart, labels == first, labels == c) for c in classes if c != first)
    return max(others, default=0.0) / float(np.sqrt(size))


def distance_correlation(a: Numbers, b: Numbers) -> float:
    """The squared distance correlation of two (n, n) distance matrices, unbiased.

    Inner products are those of U-centred matrices (Szekely and Rizzo 2014), so that independent
    samples give zero in the mean, and sometimes less.
    """
    x, y = _centred(a), _centred(b)
    scale = float((x * x).sum() * (y * y).sum())
    return float((x * y).sum()) / scale**0.5 if scale > 0.0 else 0.0


def _centred(a: Numbers) -> Numbers:
    n = len(a)
    rows = a.sum(axis=1)
    found: Numbers = a - (rows[:, None] + rows) / (n - 2) + rows.sum() / ((n - 1) * (n - 2))
    np.fill_diagonal(found, 0.0)
    return found


def shrunk(values: NDArray[np.floating], most: int) -> NDArray[np.floating]:
    """(n, d) numbers of each sample, neighbours averaged until there are no more than `most`.

    Args:
        values: (n, ...) of each sample.
        most: numbers of a sample that are left at the most.
    """
    while values[0].size > most and max(values.shape[2:], default=1) > 1:
        axis = 2 + int(np.argmax(values.shape[2:]))
        even = values.shape[axis] // 2 * 2
        head = np.take(values, range(0, even, 2), axis) + np.take(values, range(1, even, 2), axis)
        values = head / 2
    return values.reshape(len(values), -1)
