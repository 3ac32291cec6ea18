"""The equations: ridge regression towards the weights that the cut has left.

With features x of the cut model and targets t of the original, least squares is
W' = Cov(t, x) Cov(x, x)^-1 and b' = E t - W' E x (El Halabi 2022, AsymInChange).  Here the ridge
pulls towards W, not towards zero: W' = W + Cov(t - W x, x) (Cov(x, x) + lambda I)^-1.  For lambda
-> infinity that is bias correction, so that every strength lies between that and least squares.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from onnxslim_snacs.arithmetic.current import arithmetic
from onnxslim_snacs.arithmetic.kernels import Solver
from onnxslim_snacs.ir.types import IntArray
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
    equations = over_features(moments, weight)
    return equations.fit(equations.damped(ridge))


#: All outputs of a layer.
ALL = slice(None)


class Equations(Protocol):
    """Those of one layer, for every ridge."""

    def damped(self, ridge: float) -> Solver:
        """How they are solved with a ridge, relative to the mean variance of the features."""

    def fit(self, solve: Solver, outputs: IntArray | slice = ALL) -> Affine:
        """Their solution, or that of some outputs alone."""

    def shifted(self) -> Affine:
        """The weights as they are, with the bias that makes the mean right."""


@dataclass(frozen=True, slots=True)
class OverFeatures:
    """Equations with a matrix over pairs of features.

    Attributes:
        moments: of the rows to fit.
        weight: (g, d, o) where to stay without evidence.
        missing: (g, d, o) covariance of the features with what that leaves of the targets.
    """

    moments: Moments
    weight: FloatArray
    missing: FloatArray

    def damped(self, ridge: float) -> Solver:
        """How they are solved with a ridge."""
        level = np.trace(self.moments.xx, axis1=1, axis2=2) / self.moments.xx.shape[1]
        return arithmetic().solver(self.moments.xx, np.maximum(max(ridge, FLOOR) * level, 1e-30))

    def fit(self, solve: Solver, outputs: IntArray | slice = ALL) -> Affine:
        """Their solution, or that of some outputs alone."""
        weight = self.weight[:, :, outputs] + solve(self.missing[:, :, outputs])
        mean = np.einsum("gd,gdo->go", self.moments.mean_x, weight)
        return Affine(weight, self.moments.mean_t[:, outputs] - mean)

    def shifted(self) -> Affine:
        """The weights as they are, with the bias that makes the mean right."""
        return with_mean(self.moments, self.weight)


def over_features(moments: Moments, weight: FloatArray) -> OverFeatures:
    """Equations of a ridge regression towards `weight`.

    Args:
        moments: of the rows to fit.
        weight: (g, d, o) where to stay without evidence.
    """
    return OverFeatures(moments, weight, moments.xt - moments.xx @ weight)
