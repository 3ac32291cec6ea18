"""Count hash cells for all pairs at once and sum their contributions to the information.

For one bucket k of Z the counts of all (child, parent) pairs are one product of indicator matrices.
Z differs by parent, but little: the product runs over the samples that fall into bucket k for *any*
parent of a block, and masking each parent's side by its own membership makes the counts exact.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from onnxslim_snacs.scores.snacs.blas import side_by_side
from onnxslim_snacs.scores.snacs.hashing import Buckets

OneHot: TypeAlias = npt.NDArray[np.float32]  # (sample, child, x bucket)

_PARENT_BLOCK = 128
_BLOCK_CELLS = 1 << 19  # float32 cells of one block, 2 MB: about the cache of a core
_TINY = np.float32(1e-12)  # keeps the 0/0 of cells without mass at 0


def one_hot(x: Buckets) -> OneHot:
    """Spread bucket numbers into indicators.

    Args:
        x: buckets of the children, axes (child, sample).

    Returns:
        0 or 1, axes (sample, child, x bucket).
    """
    return np.eye(int(x.max()) + 1, dtype=np.float32)[x.T]


def pair_information(
    x: OneHot,
    y: Buckets,
    z: Buckets,
    *,
    edges_only: bool = False,
    cell_weights: npt.NDArray[np.float32] | None = None,
    threads: int | None = None,
) -> npt.NDArray[np.float64]:
    """Estimate the conditional information of every pair from bucket numbers.

    With n = N_ijk and e = N_ik N_jk / N_k the full sum 1 - (2/N) sum_n 1/(1 + w) of method 3.2
    equals (1/2N) sum over all cells of (n - e)^2 / (n + e); the released estimator drops the cells
    with n = 0.  Written with q = P(x | y, z) = n / N_jk and r = P(x | z), a cell's term is
    N_jk (q - r)^2 / (q + r).  The result does not depend on the number of threads.

    Args:
        x: indicators of the children's buckets, axes (sample, child, x bucket).
        y: buckets of the parents, axes (parent, sample).
        z: buckets of each parent's complement, axes (parent, sample).
        edges_only: sum over the observed cells only, as released.
        cell_weights: phi of each cell, axes (x bucket, y bucket, z bucket), or None for 1.
        threads: worker threads; None: one for each core that this process may use, at most 8.

    Returns:
        Information in [0, 1], axes (child, parent).
    """
    kinds = x.shape[2]
    indicators = x.reshape(len(x), -1)
    starts = range(0, len(y), _PARENT_BLOCK)

    def block(start: int) -> npt.NDArray[np.float64]:
        stop = start + _PARENT_BLOCK
        return _block_information(
            indicators, kinds, y[start:stop], z[start:stop], edges_only, cell_weights
        )

    return np.concatenate(list(side_by_side(block, starts, threads)), axis=1)


def _block_information(
    indicators: npt.NDArray[np.float32],
    kinds: int,
    y: Buckets,
    z: Buckets,
    edges_only: bool,
    cell_weights: npt.NDArray[np.float32] | None,
) -> npt.NDArray[np.float64]:
    """Sum the contributions of one block of parents, axes (child, parent)."""
    samples, columns = indicators.shape
    parents, y_kinds = len(y), int(y.max()) + 1
    total = np.zeros((columns // kinds, parents))
    plain = cell_weights is None and not edges_only
    step = max(1, _BLOCK_CELLS // (kinds * y_kinds * parents)) * kinds
    for bucket in range(int(z.max()) + 1):
        member = z == bucket
        rows = np.flatnonzero(member.any(axis=0))
        member, chosen = member[:, rows], y[:, rows]
        parent_side = np.concatenate(
            [((chosen == kind) & member).astype(np.float32) for kind in range(y_kinds)]
        )  # (y bucket x parent, sample)
        y_counts = parent_side.sum(axis=1, keepdims=True)
        parent_side /= np.maximum(y_counts, 1.0)
        y_counts = y_counts.reshape(y_kinds, parents)
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
    information: npt.NDArray[np.float64] = total / (2.0 * samples)
    return np.maximum(1.0 - 4.0 * information, 0.0) if plain else information


def _overlap(
    shares: npt.NDArray[np.float32],
    expected: npt.NDArray[np.float32],
    y_counts: npt.NDArray[np.float32],
) -> npt.NDArray[np.float32]:
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
    sums: npt.NDArray[np.float32] = np.einsum("cijp,jp->cip", shares, y_counts)
    overlap: npt.NDArray[np.float32] = (sums * expected).sum(axis=1)
    return overlap


def _distance(
    shares: npt.NDArray[np.float32],
    expected: npt.NDArray[np.float32],
    y_counts: npt.NDArray[np.float32],
    edges_only: bool,
    weights: npt.NDArray[np.float32] | None,
) -> npt.NDArray[np.float32]:
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
    sums: npt.NDArray[np.float32] = np.einsum("cijp,jp->cp", terms, y_counts)
    return sums
