"""The equations: ridge regression towards the weights that the cut has left.

`../shared/methods` 5.2 and 5.7: with features x of the cut model and targets t of the original,
W' = Cov(t, x) Cov(x, x)^-1 and b' = E t - W' E x.  Here the ridge pulls towards W, not towards zero:
W' = W + Cov(t - W x, x) (Cov(x, x) + lambda I)^-1.  For lambda -> infinity that is bias correction,
so that every strength lies between doing nothing but that and least squares.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from onnxslim_snacs.recovery.moments import FloatArray, Moments

#: Ridges that are tried, relative to the mean variance of the features.
RIDGES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)


@dataclass(frozen=True, slots=True)
class Affine:
    """A map of features to outputs: t ~ x @ weight + bias.

    Attributes:
        weight: (g, d, o).
        bias: (g, o).
    """

    weight: FloatArray
    bias: FloatArray


def with_mean(moments: Moments, weight: FloatArray) -> Affine:
    """The weights with the bias that makes the mean right (5.6 in its asymmetric form)."""
    return Affine(weight, moments.mean_t - np.einsum("gd,gdo->go", moments.mean_x, weight))


def with_statistics(moments: Moments, weight: FloatArray) -> Affine:
    """Mean and variance of each output as in the original (5.6, REPAIR)."""
    variance = np.einsum("gdo,gdo->go", weight, moments.xx @ weight)
    scale = np.sqrt(moments.tt) / (np.sqrt(np.maximum(variance, 0.0)) + 1e-9)
    scale = np.where(variance > 1e-12 * np.maximum(moments.tt, 1e-30), scale, 1.0)
    return with_mean(moments, weight * scale[:, None, :])


def with_scale(moments: Moments, weight: FloatArray) -> Affine:
    """The scale of each output that least squares asks for."""
    variance = np.einsum("gdo,gdo->go", weight, moments.xx @ weight)
    product = np.einsum("gdo,gdo->go", weight, moments.xt)
    usable = variance > 1e-12 * np.maximum(moments.tt, 1e-30)
    scale = np.where(usable, product / np.where(usable, variance, 1.0), 1.0)
    return with_mean(moments, weight * scale[:, None, :])


def least_squares(moments: Moments, weight: FloatArray, ridge: float) -> Affine:
    """Ridge regression towards `weight`.

    Args:
        moments: of the rows to fit.
        weight: (g, d, o) where to stay without evidence.
        ridge: strength, relative to the mean variance of the features.
    """
    residual = moments.xt - moments.xx @ weight
    level = np.trace(moments.xx, axis1=1, axis2=2) / moments.xx.shape[1]
    change = _solve(moments.xx, np.maximum(ridge * level, 1e-30), residual)
    return with_mean(moments, weight + change)


def _solve(xx: FloatArray, ridge: FloatArray, right: FloatArray) -> FloatArray:
    """(xx + ridge I)^-1 right for each group; by eigenvalues where Cholesky fails."""
    if len(xx) == 1:
        damped = xx[0] + ridge[0] * np.eye(xx.shape[1])
        try:
            factor = cho_factor(damped, lower=True, overwrite_a=True, check_finite=False)
            solved: FloatArray = cho_solve(factor, right[0], check_finite=False)[None]
            if np.isfinite(solved).all():
                return solved
        except LinAlgError:
            pass
    values, vectors = np.linalg.eigh(xx)
    values = np.maximum(values, 0.0) + ridge[:, None]
    return vectors @ ((vectors.transpose(0, 2, 1) @ right) / values[:, :, None])


def squared_error_rise(moments: Moments, weight: FloatArray, removed: FloatArray) -> FloatArray:
    """(o,) rise of the squared error when features go and the rest is re-fitted.

    5.2: trace(W_R ((Sigma^-1)_RR)^-1 W_R^T), for one group, output by output.

    Args:
        moments: of the layer's own input.
        weight: (1, d, o) the layer's weights.
        removed: (r,) indices of the features that go.
    """
    gone = np.asarray(removed, dtype=np.int64)
    stays = np.setdiff1d(np.arange(moments.xx.shape[1]), gone)
    w = weight[0][gone]
    across = moments.xx[0][np.ix_(gone, stays)]
    kept = moments.xx[:, stays[:, None], stays]
    level = np.trace(kept, axis1=1, axis2=2) / max(1, len(stays))
    explained = across @ _solve(kept, 1e-12 * level, across.T[None])[0]
    schur = moments.xx[0][np.ix_(gone, gone)] - explained
    rise: FloatArray = np.einsum("ro,ro->o", w, schur @ w)
    return rise
