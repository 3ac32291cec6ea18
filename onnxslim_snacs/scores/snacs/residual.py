"""Conditional information of what is left when the other parents' linear part is taken out.

Hundreds of other channels behind sixteen buckets condition on nothing.  Here both variables of a
pair lose what the other parents tell of them linearly, and what is left is hashed: the parent's
remainder e_p (`linear`), and the consumer's, which is r_c + b_cp e_p with b the slopes of X_c on
all parents and r_c what they leave together.

A pooled pre-activation is nearly a linear function of its pooled inputs, and then every parent with
any weight tells all that the others leave open.  So that parents compare, r_c is filled up with
noise to the variance that a parent adds in the mean.
"""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from onnxslim_snacs.scores.snacs.blas import side_by_side
from onnxslim_snacs.scores.snacs.hashing import quantile_buckets, standardised_rows
from onnxslim_snacs.scores.snacs.linear import (
    FloatArray,
    Parents,
    fitted_parents,
    shuffled_remainders,
)
from onnxslim_snacs.scores.snacs.quality import (
    ConnectivityQuality,
    quality_of_remainders,
    spread_over,
)

#: Buckets of each remainder.
BUCKETS = 8
#: Pairs of child and parent that are looked at one by one.  In larger layers children spread over
#: all of them stand for the others, which have the mean information of each parent.
PAIRS = 1 << 22
_NULL_CHILDREN = 64
_BLOCK = 1 << 20  # numbers of one block of children, 4 MB in float32
_TINY = np.float32(1e-12)


def acmi_residual(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    *,
    ridge: float | None = None,
    buckets: int = BUCKETS,
    seed: int = 0,
    threads: int | None = None,
) -> tuple[FloatArray, ConnectivityQuality]:
    """Estimate I(X_c ; Y_p | all other Y) for every pair.

    Args:
        x: pooled outputs of the consumer, axes (sample, child).
        y: pooled channels of the tensor that it reads, axes (sample, parent).
        ridge: shrinkage of the parents' correlation matrix; None for the oracle-approximating one.
        buckets: of each remainder.
        seed: of the noise and of the null.
        threads: worker threads; None: the cores at hand.

    Returns:
        Information with axes (child, parent), in Henze-Penrose units from 0 to 1, and what is known
        about its quality; the null is that of conditional randomisation.
    """
    x_rows = standardised_rows(x)
    children = len(x_rows)
    seen = spread_over(children, max(_NULL_CHILDREN, PAIRS // np.shape(y)[1]))
    x_rows = x_rows[seen]
    parents = fitted_parents(standardised_rows(y), ridge=ridge)
    rng = np.random.default_rng(seed)
    slopes = parents.slopes(x_rows.astype(np.float64))
    left = _filled(x_rows - slopes @ parents.rows, slopes, parents, rng)
    e = parents.left.astype(np.float32)
    information = _information(left, slopes, e, e, buckets, threads)
    some = spread_over(len(x_rows), _NULL_CHILDREN)
    copies = shuffled_remainders(parents, rng).astype(np.float32)
    null = _information(left[some], slopes[some], e, copies, buckets, threads)
    quality = quality_of_remainders(
        "residual", x_rows.shape[1], information, information[some], null
    )
    if len(seen) == children:
        return information, quality
    whole = np.repeat(information.mean(axis=0, keepdims=True), children, axis=0)
    whole[seen] = information
    return whole, quality


def _filled(
    left: FloatArray, slopes: FloatArray, parents: Parents, rng: np.random.Generator
) -> npt.NDArray[np.float32]:
    """What the parents leave of each child, with as much noise as a parent adds in the mean."""
    own = np.square(slopes) @ np.square(parents.left).mean(axis=1) / max(1, slopes.shape[1])
    missing = np.sqrt(np.maximum(own - np.square(left).mean(axis=1), 0.0))
    noise = np.empty(left.shape, dtype=np.float32)
    # by what children are, not by their numbers: permuted children have permuted scores
    noise[np.argsort(own, kind="stable")] = rng.standard_normal(left.shape, dtype=np.float32)
    filled: npt.NDArray[np.float32] = (left + missing[:, None] * noise).astype(np.float32)
    return filled


def _information(
    left: npt.NDArray[np.float32],
    slopes: FloatArray,
    own: npt.NDArray[np.float32],
    other: npt.NDArray[np.float32],
    buckets: int,
    threads: int | None,
) -> FloatArray:
    """Information of left_c + slopes_cp own_p and other_p, axes (child, parent).

    Args:
        left: axes (child, sample).
        slopes: axes (child, parent).
        own: the parents' remainders as the children hold them, axes (parent, sample).
        other: the remainders that they are compared with, axes (parent, sample).
        buckets: of each.
        threads: worker threads.
    """
    places = quantile_buckets(other, buckets)
    normal = NormalDist()
    cuts = np.array([normal.inv_cdf(k / buckets) for k in range(1, buckets)], dtype=np.float32)
    variance = np.square(left).mean(axis=1)[:, None] + np.square(slopes) * np.square(own).mean(
        axis=1, dtype=np.float64
    )
    scale = 1.0 / np.sqrt(np.maximum(variance, 1e-30))
    near = (slopes * scale).astype(np.float32)
    scale = scale.astype(np.float32)
    step = max(1, _BLOCK // left.shape[1])

    def one(parent: int) -> FloatArray:
        found = []
        for start in range(0, len(left), step):
            some = slice(start, start + step)
            u = left[some] * scale[some, parent, None]
            u += near[some, parent, None] * own[parent]
            found.append(_of_cells(u, places[parent], cuts))
        return np.concatenate(found)

    columns = list(side_by_side(one, range(len(own)), threads))
    return np.stack(columns, axis=1)


def _of_cells(
    u: npt.NDArray[np.float32], places: npt.NDArray[np.uint8], cuts: npt.NDArray[np.float32]
) -> FloatArray:
    """(child,) 1 - 2/N sum of n e / (n + e) over the cells of each child with one parent."""
    children, samples = u.shape
    kinds = len(cuts) + 1
    codes = np.zeros(u.shape, dtype=np.uint8)
    for cut in cuts:
        codes += u >= cut
    cells = codes.astype(np.intp)
    cells *= kinds
    cells += places
    cells += (np.arange(children) * kinds**2)[:, None]
    n = np.bincount(cells.ravel(), minlength=children * kinds**2).reshape(children, kinds, kinds)
    expected = n.sum(axis=2, keepdims=True) * (n.sum(axis=1, keepdims=True) / samples)
    overlap = (n * expected / np.maximum(n + expected, _TINY)).sum(axis=(1, 2))
    information: FloatArray = np.maximum(1.0 - 2.0 * overlap / samples, 0.0)
    return information
