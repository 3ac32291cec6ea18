"""Count hash cells for all pairs at once and sum their contributions to the information.

For one bucket k of Z the counts of all (child, parent) pairs are one product of indicator matrices.
Z differs by parent, but little: the product runs over the samples that fall into bucket k for *any*
parent of a block, and masking each parent's side by its own membership makes the counts exact.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from onnxslim_snacs.arithmetic.current import arithmetic
from onnxslim_snacs.arithmetic.kernels import Buckets
from onnxslim_snacs.scores.snacs.blas import side_by_side

OneHot: TypeAlias = npt.NDArray[np.float32]  # (sample, child, x bucket)

_PARENT_BLOCK = 128


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
    indicators = x.reshape(len(x), -1)
    count = arithmetic().counter(indicators, x.shape[2], edges_only, cell_weights)
    starts = range(0, len(y), _PARENT_BLOCK)

    def block(start: int) -> npt.NDArray[np.float64]:
        return count(y[start : start + _PARENT_BLOCK], z[start : start + _PARENT_BLOCK])

    return np.concatenate(list(side_by_side(block, starts, threads)), axis=1)
