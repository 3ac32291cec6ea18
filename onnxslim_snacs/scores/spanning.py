"""Conditional information by minimum spanning trees, all pairs of a layer together (method 7.4)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from onnxslim_snacs.ir.types import BoolArray, IntArray
from onnxslim_snacs.layers.moments import FloatArray
from onnxslim_snacs.scores.snacs.blas import side_by_side
from onnxslim_snacs.scores.snacs.hashing import group_starts

Distances = NDArray[np.float32]
#: Numbers in the distance matrices of one side that are held at a time.
_HELD = 1 << 25


def tree_information(
    x: NDArray[np.floating],
    y: NDArray[np.floating],
    *,
    groups: int | None = None,
    seed: int = 0,
    threads: int | None = None,
) -> FloatArray:
    """I(X_c; Y_p | other Y) of all pairs, axes (child group, parent group).

    Args:
        x: (rows, children).
        y: (rows, parents), the same rows.
        groups: contiguous groups on either side; None for single channels.
        seed: of the thirds into which the rows fall.
        threads: worker threads; None for the cores at hand.
    """
    size = len(x) // 3
    order = np.random.default_rng(seed).permutation(len(x))[: 3 * size]
    true, kept, donors = np.split(order, 3)
    rows = np.concatenate([true, kept])
    children = _by_group(x, groups)
    parents = _by_group(y, groups)
    whole = _squares(_all(y)[rows])
    across = _squares(_all(y)[kept], _all(y)[donors])
    first = np.arange(2 * size) < size
    crossed = np.empty((len(children), len(parents)))
    cells = (2 * size) ** 2

    def surrogate(parent: NDArray[np.float64]) -> Distances:
        """Distances of (y, z) with the y of the surrogates replaced, see `method 7.4`."""
        nearest = np.argmin(across - _squares(parent[kept], parent[donors]), axis=1)
        fresh = np.concatenate([parent[true], parent[donors[nearest]]])
        return whole - _squares(parent[rows]) + _squares(fresh)

    for left in _blocks(len(children), cells):
        own = np.stack([_squares(children[c][rows]) for c in left])

        def one(right: range, own: Distances = own) -> IntArray:
            return crossings(own, np.stack([surrogate(parents[p]) for p in right]), first)

        several = list(_blocks(len(parents), 2 * cells))
        for right, found in zip(several, side_by_side(one, several, threads), strict=True):
            crossed[np.ix_(left, right)] = found
    return 1.0 - np.minimum(crossed, size) / size


def crossings(left: Distances, right: Distances, first: BoolArray) -> IntArray:
    """(lefts, rights) edges of minimum spanning trees between two sets of points.

    All trees grow at once by Prim's rule, one point in each step.

    Args:
        left: (lefts, points, points) squared distances.
        right: (rights, points, points) squared distances; those of a pair are the sums.
        first: (points,) which of them are in the first set.
    """
    points = len(first)
    at_left, at_right = (
        axis.reshape(-1)
        for axis in np.meshgrid(np.arange(len(left)), np.arange(len(right)), indexing="ij")
    )
    each = np.arange(len(at_left))
    rows_left, rows_right = left.reshape(-1, points), right.reshape(-1, points)
    best = np.full((len(each), points), np.inf, dtype=np.float32)
    mate = np.zeros(best.shape, dtype=bool)  # whether the nearest point of the tree is of the first
    free = np.ones(best.shape, dtype=bool)
    row, other = np.empty_like(best), np.empty_like(best)
    closer = np.empty_like(free)
    crossed = np.zeros(len(each), dtype=np.int64)
    now = np.zeros(len(each), dtype=np.int64)
    for _ in range(points - 1):
        free[each, now] = False
        best[each, now] = np.inf
        np.take(rows_left, at_left * points + now, axis=0, out=row, mode="clip")
        np.take(rows_right, at_right * points + now, axis=0, out=other, mode="clip")
        row += other
        np.less(row, best, out=closer)
        closer &= free
        np.copyto(best, row, where=closer)
        np.copyto(mate, first[now][:, None], where=closer)
        now = best.argmin(axis=1)
        crossed += mate[each, now] != first[now]
    return crossed.reshape(len(left), len(right))


def _blocks(count: int, cells: int) -> Iterator[range]:
    step = max(1, _HELD // cells)
    return (range(start, min(count, start + step)) for start in range(0, count, step))


def _all(values: NDArray[np.floating]) -> NDArray[np.float64]:
    return values.astype(np.float64)


def _by_group(values: NDArray[np.floating], groups: int | None) -> list[NDArray[np.float64]]:
    """(rows, channels of the group) of each group."""
    starts = group_starts(values.shape[1], groups)
    return np.split(_all(values), starts[1:], axis=1)


def _squares(a: NDArray[np.float64], b: NDArray[np.float64] | None = None) -> Distances:
    """(rows of a, rows of b) squared distances."""
    centre = a.mean(axis=0)
    a = a - centre
    b = a if b is None else b - centre
    found = np.square(a).sum(axis=1)[:, None] + np.square(b).sum(axis=1) - 2.0 * (a @ b.T)
    return np.asarray(np.maximum(found, 0.0), dtype=np.float32)
