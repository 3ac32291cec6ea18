"""The hash estimator of the adaptive conditional mutual information (method 3.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from onnxslim_snacs.arithmetic.kernels import Buckets
from onnxslim_snacs.scores.snacs.blas import side_by_side
from onnxslim_snacs.scores.snacs.counting import OneHot, one_hot, pair_information
from onnxslim_snacs.scores.snacs.hashing import (
    FloatRows,
    group_starts,
    hash_complements,
    hash_units,
    quantile_buckets,
    singleton_share,
    standardised_rows,
)
from onnxslim_snacs.scores.snacs.linear import conditional_copies, fitted_parents
from onnxslim_snacs.scores.snacs.phi import cell_factors
from onnxslim_snacs.scores.snacs.quality import ConnectivityQuality, against_null, spread_over

Groups = tuple[int, int] | None

_NULL_CHILDREN = 64


@dataclass(frozen=True, slots=True)
class HashOptions:
    """Settings of the hash estimator.

    Attributes:
        form: "full" sums over all cells and estimates the Henze-Penrose information; "edges"
            sums over the observed cells only, as released.
        cell_phi: part of phi that depends on the hash cell: "one", "act", "act_sq", "e_act".
        groups: (children, parents) counts of contiguous channel groups; None: one per filter.
        buckets: buckets of X and of Y.
        z_buckets: upper bound on the buckets of Z.
        cell_samples: mean samples that a cell (x, y, z) must hold; Z gets fewer buckets otherwise.
        singleton_bound: largest share of samples that may be alone in their Z bucket.
        draws: seeded draws of the projections, averaged.
        seed: seed of the draws and of the null.
        threads: worker threads; None: the cores at hand.
    """

    form: Literal["full", "edges"] = "full"
    cell_phi: str = "one"
    groups: Groups = None
    buckets: int = 4
    z_buckets: int = 16
    cell_samples: float = 4.0
    singleton_bound: float = 0.5
    draws: int = 6
    seed: int = 0
    threads: int | None = None


@dataclass(frozen=True, slots=True)
class _Hashed:
    """One draw: axes (group, sample) each."""

    x: Buckets
    y: Buckets
    z: Buckets


def acmi_hash(
    x: npt.ArrayLike, y: npt.ArrayLike, options: HashOptions | None = None
) -> tuple[npt.NDArray[np.float64], ConnectivityQuality]:
    """Estimate I(X_c ; Y_p | all other Y) for every pair of groups.

    Args:
        x: pooled outputs of the consumer, axes (sample, child).
        y: pooled channels of the tensor that it reads, axes (sample, parent).
        options: settings; None for the defaults.

    Returns:
        Information with axes (child group, parent group), in Henze-Penrose units from 0 to 1 for
        the full form, and what is known about its quality.
    """
    options = options or HashOptions()
    x_rows, y_rows = standardised_rows(x), standardised_rows(y)
    z_buckets = choose_z_buckets(y_rows, options)
    draws = _all_draws(x_rows, y_rows, z_buckets, options)
    outside = len(y_rows) - len(y_rows) // len(draws[0].y)
    cell_weights = cell_factors(options.cell_phi, options.buckets, z_buckets, outside)

    def estimate(x_hot: OneHot, y: Buckets, z: Buckets) -> npt.NDArray[np.float64]:
        edges = options.form == "edges"
        return pair_information(
            x_hot, y, z, edges_only=edges, cell_weights=cell_weights, threads=options.threads
        )

    x_hot = one_hot(draws[0].x)
    first = estimate(x_hot, draws[0].y, draws[0].z)
    children = spread_over(len(first), _NULL_CHILDREN)
    null = estimate(x_hot[:, children], _null(y_rows, options), draws[0].z)
    total = first.copy()
    for hashed in draws[1:]:
        x_hot = x_hot if hashed.x is draws[0].x else one_hot(hashed.x)
        total += estimate(x_hot, hashed.y, hashed.z)
    mean = total / len(draws)
    quality = ConnectivityQuality(
        "hash",
        x_rows.shape[1],
        len(draws),
        z_buckets,
        float(np.mean([singleton_share(hashed.z) for hashed in draws])),
        float(mean.mean()),
        *against_null(first[children], null),
    )
    return mean, quality


def choose_z_buckets(y_rows: FloatRows, options: HashOptions) -> int:
    """Halve the buckets of Z until cells hold enough samples and few samples are alone.

    Args:
        y_rows: standardised parents, axes (parent, sample).
        options: the bounds.

    Returns:
        Number of buckets to ask for, at least 1.
    """
    samples = y_rows.shape[1]
    starts = group_starts(len(y_rows), _count(options, 1))
    count = options.z_buckets
    while count > 1 and samples < options.cell_samples * options.buckets**2 * count:
        count //= 2
    while count > 1:
        z = hash_complements(y_rows, starts, count, _rng(options, 0))
        if singleton_share(z) <= options.singleton_bound:
            break
        count //= 2
    return count


def _all_draws(
    x_rows: FloatRows, y_rows: FloatRows, z_buckets: int, options: HashOptions
) -> list[_Hashed]:
    """Hash everything once for every draw; single channels hash alike in all of them."""
    x_starts = group_starts(len(x_rows), _count(options, 0))
    y_starts = group_starts(len(y_rows), _count(options, 1))
    x_fixed, y_fixed = (
        quantile_buckets(rows, options.buckets) if len(starts) == len(rows) else None
        for rows, starts in ((x_rows, x_starts), (y_rows, y_starts))
    )

    def one(draw: int) -> _Hashed:
        rng = _rng(options, draw)
        z = hash_complements(y_rows, y_starts, z_buckets, rng)
        x = hash_units(x_rows, x_starts, options.buckets, rng) if x_fixed is None else x_fixed
        y = hash_units(y_rows, y_starts, options.buckets, rng) if y_fixed is None else y_fixed
        return _Hashed(x, y, z)

    return list(side_by_side(one, range(options.draws), options.threads))


def _null(y_rows: FloatRows, options: HashOptions) -> Buckets:
    """Conditional copies of Y: they depend on the other parents as Y does, and on X no further.

    Y shuffled within the buckets of Z would do only if those held all that the others tell.
    """
    rng = np.random.default_rng([options.seed, options.draws])
    starts = group_starts(len(y_rows), _count(options, 1))
    copies = conditional_copies(fitted_parents(y_rows, starts), starts, rng)
    return hash_units(copies, starts, options.buckets, _rng(options, 0))


def _rng(options: HashOptions, draw: int) -> np.random.Generator:
    return np.random.default_rng([options.seed, draw])


def _count(options: HashOptions, side: int) -> int | None:
    return None if options.groups is None else options.groups[side]
