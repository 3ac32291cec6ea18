"""Conditional information of what is left when the other parents' linear part is taken out.

Hundreds of other channels behind sixteen buckets condition on nothing.  Here both variables of a
pair lose what the other parents tell of them linearly, and what is left is hashed: the parent's
remainder e_p (`linear`), and the consumer's, which is r_c + b_cp e_p with b the slopes of X_c on
all parents and r_c what they leave together.

A pooled pre-activation is nearly a linear function of its pooled inputs, and then every parent with
any weight tells all that the others leave open.  So that parents compare, r_c is filled up with
noise to the variance that a parent adds in the mean.

How much a child tells of a parent follows from the parent's share of the child's variance, but for
chance.  Of a layer with many children every parent is measured with some of them, evenly spread by
that share, and the others lie between.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from onnxslim_snacs.arithmetic.current import arithmetic
from onnxslim_snacs.arithmetic.kernels import Placed
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
#: Pairs of child and parent whose slopes are held, for memory's sake.  In larger layers children
#: spread over all of them stand for the others, which have the mean information of each parent.
PAIRS = 1 << 22
#: Children with which a parent is measured where there are more than twice as many.
MEASURED = 64
#: Pairs under the null: children, and parents.
_NULL_CHILDREN, _NULL_PARENTS = 64, 64
_BLOCK = 1 << 17  # numbers of one block of pairs, 1 MB in float32


def acmi_residual(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    *,
    ridge: float | None = None,
    buckets: int = BUCKETS,
    seed: int = 0,
    threads: int | None = None,
    measured: int = MEASURED,
) -> tuple[FloatArray, ConnectivityQuality]:
    """Estimate I(X_c ; Y_p | all other Y) for every pair.

    Args:
        x: pooled outputs of the consumer, axes (sample, child).
        y: pooled channels of the tensor that it reads, axes (sample, parent).
        ridge: shrinkage of the parents' correlation matrix; None for the oracle-approximating one.
        buckets: of each remainder.
        seed: of the noise and of the null.
        threads: worker threads; None: the cores at hand.
        measured: children with which a parent is measured where there are more than twice as many.

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
    pairs = _Pairs(left, slopes.astype(np.float32), e, e)
    information = _information(pairs, buckets, threads, measured)
    some = spread_over(len(x_rows), _NULL_CHILDREN)
    few = spread_over(len(e), _NULL_PARENTS)
    copies = shuffled_remainders(parents, rng, few).astype(np.float32)
    among = _Pairs(left[some], pairs.slopes[np.ix_(some, few)], e[few], copies)
    null = _information(among, buckets, threads, len(some))
    quality = quality_of_remainders(
        "residual", x_rows.shape[1], information, information[np.ix_(some, few)], null
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


@dataclass(frozen=True, slots=True)
class _Pairs:
    """Children and the parents with which they are compared.

    Attributes:
        left: what the parents leave of each child, axes (child, sample).
        slopes: axes (child, parent).
        own: the parents' remainders as the children hold them, axes (parent, sample).
        other: the remainders that they are compared with, axes (parent, sample).
    """

    left: npt.NDArray[np.float32]
    slopes: npt.NDArray[np.float32]
    own: npt.NDArray[np.float32]
    other: npt.NDArray[np.float32]


def _information(pairs: _Pairs, buckets: int, threads: int | None, measured: int) -> FloatArray:
    """Information of left_c + slopes_cp own_p and other_p, axes (child, parent)."""
    children, samples = pairs.left.shape
    places = quantile_buckets(pairs.other, buckets)
    normal = NormalDist()
    cuts = np.array([normal.inv_cdf(k / buckets) for k in range(1, buckets)], dtype=np.float32)
    around = np.square(pairs.left).mean(axis=1)
    size = np.square(pairs.own).mean(axis=1, dtype=np.float64)
    chosen = _spread_places(children, measured)
    step = max(1, _BLOCK // (len(chosen) * samples))
    overlaps = arithmetic().overlaps(pairs.left, pairs.own, cuts)

    def some(start: int) -> FloatArray:
        parents = slice(start, start + step)
        slope = pairs.slopes[:, parents].T.astype(np.float64)
        scale = 1.0 / np.sqrt(np.maximum(around + np.square(slope) * size[parents][:, None], 1e-30))
        near = slope * scale
        order = np.argsort(np.abs(near), axis=1, kind="stable")
        among = order[:, chosen]
        placed = Placed(
            among,
            np.take_along_axis(scale, among, axis=1).astype(np.float32),
            np.take_along_axis(near, among, axis=1).astype(np.float32),
            parents,
            places[parents],
        )
        whole: FloatArray = np.empty(near.shape)
        found = _between(overlaps(placed), chosen, children)
        np.put_along_axis(whole, order, found, axis=1)
        return whole

    rows = list(side_by_side(some, range(0, len(pairs.own), step), threads))
    return np.concatenate(rows).T


def _spread_places(count: int, most: int) -> npt.NDArray[np.intp]:
    """Places from the first to the last of `count`: all, or `most` where that is below a half."""
    if count <= 2 * most:
        return np.arange(count)
    return np.round(np.linspace(0, count - 1, most)).astype(np.intp)


def _between(values: FloatArray, places: npt.NDArray[np.intp], count: int) -> FloatArray:
    """Values at some places of `count`, and on the lines between them at the others.

    Args:
        values: axes (parent, place).
        places: ascending, the first and the last of `count` among them.
        count: of places.

    Returns:
        Axes (parent, place of all).
    """
    if len(places) == count:
        return values
    at = np.arange(count)
    right = np.clip(np.searchsorted(places, at), 1, len(places) - 1)
    share = (at - places[right - 1]) / (places[right] - places[right - 1])
    found: FloatArray = values[:, right - 1] * (1.0 - share) + values[:, right] * share
    return found
