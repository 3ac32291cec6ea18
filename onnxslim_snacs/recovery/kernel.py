"""The same ridge regression where there are fewer rows than features: over rows instead.

(X^T X + lambda I)^-1 X^T = X^T (X X^T + lambda I)^-1, so that the smaller of the two matrices is
factored.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from onnxslim_snacs.arithmetic.current import arithmetic
from onnxslim_snacs.arithmetic.kernels import Solver
from onnxslim_snacs.ir.types import IntArray
from onnxslim_snacs.layers.moments import FloatArray, Rows
from onnxslim_snacs.recovery.regression import Regression
from onnxslim_snacs.recovery.solve import ALL, FLOOR, Affine

#: Features beyond which no more than `ROWS` rows are taken, for a matrix over pairs of rows.
FEATURES = 4608
#: Rows for it.
ROWS = 4096


@dataclass(frozen=True, slots=True)
class OverRows:
    """Equations with a matrix over pairs of rows, one group.

    Attributes:
        x: (n, d) features about their means.
        missing: (n, o) what is left of the targets where there is no evidence, about its mean.
        products: (n, n) of the rows with each other.
        now: where to stay without evidence.
        mean_x: (d,) taken off the features.
        mean_t: (o,) mean of the targets.
    """

    x: Rows
    missing: FloatArray
    products: FloatArray
    now: Affine
    mean_x: FloatArray
    mean_t: FloatArray

    def damped(self, ridge: float) -> Solver:
        """How they are solved with a ridge, relative to the mean variance of the features."""
        trace = float(np.trace(self.products))
        level, rounding = trace / self.x.shape[1], FLOOR * trace / len(self.x)
        least = np.array([max(ridge * level, rounding, 1e-30)])
        return arithmetic().solver(self.products[None], least)

    def fit(self, solve: Solver, outputs: IntArray | slice = ALL) -> Affine:
        """Their solution, or that of some outputs alone."""
        parts = solve(self.missing[None, :, outputs])[0]
        weight = self.now.weight[0][:, outputs] + self.x.T @ parts.astype(np.float32)
        return Affine(weight[None], (self.mean_t[outputs] - self.mean_x @ weight)[None])

    def shifted(self) -> Affine:
        """The weights as they are, with the bias that makes the mean right."""
        return Affine(self.now.weight, (self.mean_t - self.mean_x @ self.now.weight[0])[None])


def over_rows(rows: Regression, now: Affine) -> OverRows:
    """Equations of a ridge regression towards `now`.

    Args:
        rows: the rows to fit to, one group, no more of them than features.
        now: where to stay without evidence.
    """
    x, t = rows.x[0], rows.t[0]
    mean_x, mean_t = (a.mean(axis=0, dtype=np.float64) for a in (x, t))
    x = x - mean_x.astype(np.float32)
    missing = t - mean_t - x @ now.weight[0].astype(np.float32)
    missing = (missing - missing.mean(axis=0)).astype(np.float64)
    products = arithmetic().with_each_other(x).astype(np.float64)
    return OverRows(x, missing, products, now, mean_x, mean_t)
