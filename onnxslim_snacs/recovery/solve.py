"""The equations: ridge regression towards the weights that the cut has left.

With features x of the cut model and targets t of the original, least squares is
W' = Cov(t, x) Cov(x, x)^-1 and b' = E t - W' E x (El Halabi 2022, AsymInChange).  Here the ridge
pulls towards W, not towards zero: W' = W + Cov(t - W x, x) (Cov(x, x) + lambda I)^-1.  For lambda
-> infinity that is bias correction, so that every strength lies between that and least squares.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from onnxslim_snacs.layers.moments import FloatArray, Moments

#: Smallest ridge, relative to the mean variance of the features: what rounding in single precision
#: leaves of the Gram matrix of dependent features.
FLOOR = 1e-7


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
    """The weights with the bias that makes the mean right (5.6 in its asymmetric form).

    Args:
        moments: of features and targets.
        weight: (g, d, o).
    """
    return Affine(weight, moments.mean_t - np.einsum("gd,gdo->go", moments.mean_x, weight))


def with_statistics(moments: Moments, weight: FloatArray) -> Affine:
    """Mean and variance of each output as in the original (5.6, REPAIR)."""
    variance = np.einsum("gdo,gdo->go", weight, moments.xx @ weight)
    scale = np.sqrt(moments.tt) / (np.sqrt(np.maximum(variance, 0.0)) + 1e-9)
    scale = np.where(variance > 1e-12 * np.maximum(moments.tt, 1e-30), scale, 1.0)
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
    change = solve_damped(moments.xx, np.maximum(max(ridge, FLOOR) * level, 1e-30), residual)
    return with_mean(moments, weight + change)


def solve_damped(xx: FloatArray, ridge: FloatArray, right: FloatArray) -> FloatArray:
    """(xx + ridge I)^-1 right for each group; by eigenvalues where Cholesky fails.

    Args:
        xx: (g, d, d) symmetric, without negative eigenvalues but those of rounding.
        ridge: (g,) above zero.
        right: (g, d, o).
    """
    if len(xx) == 1:
        from scipy.linalg import cho_factor, cho_solve

        damped = xx[0] + ridge[0] * np.eye(xx.shape[1])
        try:
            factor = cho_factor(damped, lower=True, overwrite_a=True, check_finite=False)
            solved: FloatArray = cho_solve(factor, right[0], check_finite=False)[None]
            if np.isfinite(solved).all():
                return solved
        except np.linalg.LinAlgError:
            pass
    values, vectors = np.linalg.eigh(xx)
    values = np.maximum(values, 0.0) + ridge[:, None]
    inverse: FloatArray = vectors @ ((vectors.transpose(0, 2, 1) @ right) / values[:, :, None])
    return inverse
