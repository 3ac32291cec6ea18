"""The same ridge regression where the Gram matrix of the features is too big: over rows instead.

(X^T X + lambda I)^-1 X^T = X^T (X X^T + lambda I)^-1, so that with fewer rows than features the
smaller of the two matrices is factored.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from onnxslim_snacs.layers.moments import FloatArray
from onnxslim_snacs.recovery.regression import Regression
from onnxslim_snacs.recovery.solve import FLOOR, Affine, damped

#: Features beyond which the matrix over rows is taken.
FEATURES = 4608
#: Rows for it.
ROWS = 4096


def over_rows(rows: Regression, now: Affine) -> Callable[[float], Affine]:
    """Ridge regression towards `now`, as a function of the ridge.

    Args:
        rows: the rows to fit to, one group, no more of them than features.
        now: where to stay without evidence.

    Returns:
        ridge, relative to the mean variance of the features -> fit.
    """

    x, t = rows.x[0], rows.t[0]
    mean_x, mean_t = (a.mean(axis=0, dtype=np.float64) for a in (x, t))
    x = x - mean_x.astype(np.float32)
    missing = t - mean_t - x @ now.weight[0].astype(np.float32)
    missing = (missing - missing.mean(axis=0)).astype(np.float64)
    products = (x @ x.T).astype(np.float64)
    trace = float(np.trace(products))
    level, rounding = trace / x.shape[1], FLOOR * trace / len(x)

    def solve(ridge: float) -> Affine:
        strength = np.array([max(ridge * level, rounding, 1e-30)])
        parts: FloatArray = damped(products[None], strength)(missing[None])[0]
        weight = now.weight[0] + x.T.astype(np.float64) @ parts
        return Affine(weight[None], (mean_t - mean_x @ weight)[None])

    return solve
