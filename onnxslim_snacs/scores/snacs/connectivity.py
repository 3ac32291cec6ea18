"""Connectivity of one producer -> consumer pair: rho[c, p] = phi * I(X_c ; Y_p | other Y)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from onnxslim_snacs.errors import InputRefused, UsageError
from onnxslim_snacs.scores.snacs.acmi import Groups, HashOptions, acmi_hash
from onnxslim_snacs.scores.snacs.gaussian import gaussian_information
from onnxslim_snacs.scores.snacs.hashing import group_starts
from onnxslim_snacs.scores.snacs.phi import phi_form, weight_factor
from onnxslim_snacs.scores.snacs.quality import ConnectivityQuality
from onnxslim_snacs.scores.snacs.residual import acmi_residual

#: Remainders of a linear fit to the other parents, hashed; everything hashed, as published; and
#: partial correlations.
ESTIMATORS = ("residual", "hash", "gaussian")
_LEAST_SAMPLES = 8


@dataclass(frozen=True, slots=True)
class Connectivity:
    """Scores of all connections of a producer -> consumer pair.

    Attributes:
        rho: connectivity, axes (child, parent).
        information: conditional information without the weight factor, axes (child, parent).
        quality: whether the information carries signal.
    """

    rho: npt.NDArray[np.float64]
    information: npt.NDArray[np.float64]
    quality: ConnectivityQuality


def connectivity(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    weights_abs: npt.ArrayLike,
    *,
    estimator: str = "residual",
    phi: str = "weight",
    groups: int | Groups = None,
    seed: int = 0,
    noise: float = 0.1,
    options: HashOptions | None = None,
) -> Connectivity:
    """Score every connection between the channels of a tensor and the outputs of its consumer.

    With groups, all connections of a block share the block's score; its weight is the mean over
    the whole block (method 3.4).

    Args:
        x: the consumer's pooled outputs before normalisation and activation, (sample, child).
        y: pooled channels of the tensor that the consumer reads, (sample, parent).
        weights_abs: scaled weights in [0, 1] as of `scale_weights`, (child, parent).
        estimator: a key of `ESTIMATORS`.
        phi: a key of `PHI_FORMS`; estimators other than "hash" know the weight forms only.
        groups: number of contiguous groups on each side, or (children, parents); None: one
            filter per group.
        seed: seed of projections and null.
        noise: variance added to X by the gaussian estimator.
        options: further settings of the hash estimator; its phi, groups and seed are replaced.

    Returns:
        The scores.

    Raises:
        UsageError: no such estimator or phi, or phi needs hash cells.
        InputRefused: shapes that disagree, values that are not finite, fewer than 8 samples.
    """
    form = phi_form(phi)
    if estimator not in ESTIMATORS:
        raise UsageError(f"estimator must be one of {', '.join(ESTIMATORS)}; got {estimator!r}")
    if estimator != "hash" and form.cell != "one":
        raise UsageError(f"phi={phi} weighs hash cells; it goes with conditioning=hash")
    x, y, weights = _checked(x, y, weights_abs)
    sides = (groups, groups) if isinstance(groups, int) else groups
    if estimator == "hash":
        settings = replace(options or HashOptions(), cell_phi=form.cell, groups=sides, seed=seed)
        information, quality = acmi_hash(x, y, settings)
    else:
        threads = None if options is None else options.threads
        information, quality = (
            acmi_residual(x, y, seed=seed, threads=threads)
            if estimator == "residual"
            else gaussian_information(x, y, noise=noise, seed=seed)
        )
        information = _block_means(information, sides)
    factor = weight_factor(form.weight, _block_means(weights, sides))
    shape = weights.shape
    return Connectivity(_spread(factor * information, shape), _spread(information, shape), quality)


def _checked(*arrays: npt.ArrayLike) -> tuple[npt.NDArray[Any], ...]:
    """Refuse what cannot be scored."""
    x, y, weights = (np.asarray(array, dtype=np.float64) for array in arrays)
    if x.ndim != 2 or y.ndim != 2 or len(x) != len(y):
        raise InputRefused(
            f"expected (sample, child) and (sample, parent) activations; got {x.shape}, {y.shape}"
        )
    if weights.shape != (x.shape[1], y.shape[1]):
        raise InputRefused(
            f"expected weights (child, parent) = {(x.shape[1], y.shape[1])}; got {weights.shape}"
        )
    if len(x) < _LEAST_SAMPLES:
        raise InputRefused(
            f"{len(x)} samples to score by are too few, one more being set aside to judge by: give "
            f"at least {_LEAST_SAMPLES + 1}"
        )
    if not all(np.isfinite(array).all() for array in (x, y, weights)):
        raise InputRefused("activations or weights are not finite (NaN or infinity)")
    return x, y, weights


def _block_means(values: npt.NDArray[np.float64], groups: Groups) -> npt.NDArray[np.float64]:
    """Average over the blocks of contiguous groups, axes (child group, parent group)."""
    if groups is None:
        return values
    for axis in (0, 1):
        starts = group_starts(values.shape[axis], groups[axis])
        sizes = np.diff(starts, append=values.shape[axis])
        sizes = sizes[:, None] if axis == 0 else sizes
        values = np.add.reduceat(values, starts, axis=axis) / sizes
    return values


def _spread(values: npt.NDArray[np.float64], shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
    """Give every channel the value of its group, axes (child, parent)."""
    for axis in (0, 1):
        if values.shape[axis] == shape[axis]:
            continue
        sizes = np.diff(group_starts(shape[axis], values.shape[axis]), append=shape[axis])
        values = np.repeat(values, sizes, axis=axis)
    return values
