"""Cells of hashed samples, counted for many pairs at once, in numpy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from onnxslim_snacs.arithmetic.kernels import Buckets, FloatArray, Placed, Rows

_BLOCK_CELLS = 1 << 19  # float32 cells of one block, 2 MB: about the cache of a core
_TINY = np.float32(1e-12)  # keeps the 0/0 of cells without mass at 0


def counter(
    indicators: Rows, kinds: int, edges_only: bool, cell_weights: Rows | None
) -> Callable[[Buckets, Buckets], FloatArray]:
    """What sums the contributions of one block of parents, see `scores.snacs.counting`.

    Args:
        indicators: of the children's buckets, axes (sample, child x bucket).
        kinds: buckets of a child.
        edges_only: sum over the observed cells only.
        cell_weights: phi of each cell, axes (x bucket, y bucket, z bucket), or None for 1.

    Returns:
        A function of y and z, axes (parent, sample), that gives the information (child, parent).
    """
    samples, columns = indicators.shape
    plain = cell_weights is None and not edges_only

    def count(y: Buckets, z: Buckets) -> FloatArray:
        parents, y_kinds = len(y), int(y.max()) + 1
        total = np.zeros((columns // kinds, parents))
        step = max(1, _BLOCK_CELLS // (kinds * y_kinds * parents)) * kinds
        for bucket in range(int(z.max()) + 1):
            member = z == bucket
            rows = np.flatnonzero(member.any(axis=0))
            parent_side, y_counts = _parent_side(y[:, rows], member[:, rows], y_kinds)
            y_shares = y_counts / np.maximum(y_counts.sum(axis=0), 1.0)  # P(y | z)
            child_side = indicators[rows].T  # (child x x bucket, sample)
            weights = None if cell_weights is None else cell_weights[:kinds, :y_kinds, bucket]
            for start in range(0, columns, step):
                shares = child_side[start : start + step] @ parent_side.T  # P(x | y, z)
                shares = shares.reshape(-1, kinds, y_kinds, parents)
                expected = np.einsum("cijp,jp->cip", shares, y_shares)  # P(x | z)
                expected = np.maximum(expected, _TINY)
                children = slice(start // kinds, (start + step) // kinds)
                if plain:
                    total[children] += _overlap(shares, expected, y_counts)
                else:
                    total[children] += _distance(shares, expected, y_counts, edges_only, weights)
        # sum of (n - e)^2 / (n + e) over all cells = 2N - 4 sum of n e / (n + e)
        information: FloatArray = total / (2.0 * samples)
        return np.maximum(1.0 - 4.0 * information, 0.0) if plain else information

    return count


def _parent_side(chosen: Buckets, member: np.ndarray, kinds: int) -> tuple[Rows, Rows]:
    """Indicators over their counts, (y bucket x parent, sample), and counts (y bucket, parent)."""
    side = np.concatenate([((chosen == kind) & member).astype(np.float32) for kind in range(kinds)])
    counts = side.sum(axis=1, keepdims=True)
    side /= np.maximum(counts, 1.0)
    return side, counts.reshape(kinds, len(chosen))


def _overlap(shares: Rows, expected: Rows, y_counts: Rows) -> Rows:
    """Sum n e / (n + e) = N_jk q r / (q + r) over the cells of each pair.

    Args:
        shares: q = P(x | y, z), axes (child, x bucket, y bucket, parent); overwritten.
        expected: r = P(x | z), axes (child, x bucket, parent).
        y_counts: N_jk, axes (y bucket, parent).

    Returns:
        The sums, axes (child, parent).
    """
    mass = shares + expected[:, :, None, :]
    np.divide(shares, mass, out=shares)
    sums: Rows = np.einsum("cijp,jp->cip", shares, y_counts)
    overlap: Rows = (sums * expected).sum(axis=1)
    return overlap


def _distance(
    shares: Rows, expected: Rows, y_counts: Rows, edges_only: bool, weights: Rows | None
) -> Rows:
    """Sum phi (n - e)^2 / (n + e) = phi N_jk (q - r)^2 / (q + r) over the cells of each pair.

    Args:
        shares: as in `_overlap`.
        expected: as in `_overlap`.
        y_counts: as in `_overlap`.
        edges_only: leave the cells with n = 0 out.
        weights: phi, axes (x bucket, y bucket), or None for 1.

    Returns:
        The sums, axes (child, parent).
    """
    mass = shares + expected[:, :, None, :]
    terms = shares - expected[:, :, None, :]
    np.multiply(terms, terms, out=terms)
    np.divide(terms, mass, out=terms)
    if edges_only:
        terms *= shares > 0
    if weights is not None:
        terms *= weights[:, :, None]
    sums: Rows = np.einsum("cijp,jp->cp", terms, y_counts)
    return sums


def overlaps(left: Rows, own: Rows, cuts: Rows) -> Callable[[Placed], FloatArray]:
    """What compares remainders of children with those of parents, see `scores.snacs.residual`.

    Args:
        left: what the parents leave of each child, axes (child, sample).
        own: the parents' remainders as the children hold them, axes (parent, sample).
        cuts: between the buckets of the children.

    Returns:
        A function of some pairs that gives 1 - 2/N sum of n e / (n + e), axes (parent, child).
    """

    def overlap(pairs: Placed) -> FloatArray:
        u = left[pairs.among]
        u *= pairs.scale[:, :, None]
        u += pairs.share[:, :, None] * own[pairs.parents][:, None]
        return _of_cells(u, pairs.places, cuts)

    return overlap


def _of_cells(u: Rows, places: Buckets, cuts: Rows) -> FloatArray:
    """1 - 2/N sum of n e / (n + e) over the cells of each child with one parent.

    Args:
        u: axes (parent, child, sample).
        places: buckets of the parents, axes (parent, sample).
        cuts: between the buckets of the children.

    Returns:
        Axes (parent, child).
    """
    parents, children, samples = u.shape
    kinds = len(cuts) + 1
    codes = np.zeros(u.shape, dtype=np.uint8)
    for cut in cuts:
        codes += (u >= cut).view(np.uint8)
    codes *= kinds
    codes += places[:, None]  # as small numbers as long as they are: buckets squared are below 256
    cells = codes.astype(np.intp)
    cells += (np.arange(parents * children) * kinds**2).reshape(parents, children, 1)
    counts = np.bincount(cells.ravel(), minlength=parents * children * kinds**2)
    n = counts.reshape(parents, children, kinds, kinds).astype(np.float64)
    ones = np.ones(kinds)  # short sums are quicker as products
    expected = (n @ ones)[..., None] * (ones @ n / samples)[..., None, :]
    both = n + expected
    np.maximum(both, _TINY, out=both)
    expected *= n
    expected /= both
    overlap = expected.reshape(parents, children, kinds**2) @ np.ones(kinds**2)
    information: FloatArray = np.maximum(1.0 - 2.0 * overlap / samples, 0.0)
    return information
