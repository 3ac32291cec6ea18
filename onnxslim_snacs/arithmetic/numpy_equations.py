"""Symmetric equations, in numpy and LAPACK."""

from __future__ import annotations

import numpy as np

from onnxslim_snacs.arithmetic.kernels import Fit, FlatAim, FloatArray, Rows, Solver


def root(matrix: FloatArray, floor: float) -> FloatArray:
    """The lower Cholesky factor; rounding may have left eigenvalues below the floor.

    Args:
        matrix: (n, n) symmetric.
        floor: its smallest eigenvalue, as it would be without rounding.
    """
    try:
        return np.asarray(np.linalg.cholesky(matrix), dtype=np.float64)
    except np.linalg.LinAlgError:
        values, vectors = np.linalg.eigh(matrix)
        half = vectors * np.sqrt(np.maximum(values, floor))
        return np.asarray(np.linalg.qr(half.T)[1].T, dtype=np.float64)


def solver(xx: FloatArray, ridge: FloatArray) -> Solver:
    """Solve (xx + ridge I) y = right for each group; by eigenvalues where Cholesky fails.

    Args:
        xx: (g, d, d) symmetric, without negative eigenvalues but those of rounding.
        ridge: (g,) above zero.
    """
    factor = _cholesky(xx[0], float(ridge[0])) if len(xx) == 1 else None

    def solve(right: FloatArray) -> FloatArray:
        if factor is not None:
            from scipy.linalg import cho_solve

            solved: FloatArray = cho_solve((factor, True), right[0], check_finite=False)[None]
            if np.isfinite(solved).all():
                return solved
        values, vectors = np.linalg.eigh(xx)
        values = np.maximum(values, 0.0) + ridge[:, None]
        found: FloatArray = vectors @ ((vectors.transpose(0, 2, 1) @ right) / values[:, :, None])
        return found

    return solve


def _cholesky(matrix: FloatArray, ridge: float) -> FloatArray | None:
    """The lower factor of matrix + ridge I; None if it has none."""
    from scipy.linalg.lapack import dpotrf

    whole = np.array(matrix).T  # symmetric, and so in LAPACK's own order: it works in place
    whole[np.diag_indices(len(whole))] += ridge
    factor, failed = dpotrf(whole, lower=True, overwrite_a=True, clean=False)
    return None if failed else np.asarray(factor)


def refined(x: Rows, mean: FloatArray, aim: FlatAim, start: Fit, solve: Solver, steps: int) -> Fit:
    """Majorisation with Nesterov's momentum, see `recovery.clipped`.

    Args:
        x: (n, d) features.
        mean: (d,) of them.
        aim: what the outputs have to come to.
        start: the fit to begin with.
        solve: of the damped equations of a step.
        steps: how many.
    """
    weight = before = start.weight
    bias = bias_before = start.bias
    pace = 1.0
    for _ in range(steps):
        faster = (1 + (1 + 4 * pace * pace) ** 0.5) / 2
        momentum, pace = (pace - 1) / faster, faster
        at, bias_at = weight + momentum * (weight - before), bias + momentum * (bias - bias_before)
        v = x @ at.astype(np.float32)
        v += bias_at.astype(np.float32)
        missing = _missing(aim, v)
        rise = missing.mean(axis=0, dtype=np.float64)
        product = (x.T @ missing).astype(np.float64) / len(x) - np.outer(mean, rise)
        step = solve(product[None])[0]
        before, bias_before = weight, bias
        weight, bias = at + step, bias_at + rise - mean @ step
    return Fit(weight, bias)


def _missing(aim: FlatAim, v: Rows) -> Rows:
    """(n, o) what v lacks to the nearest value that is as good as the target; v is overwritten."""
    if aim.below is not None:
        np.maximum(v, aim.low, out=v, where=aim.below)
    if aim.above is not None:
        np.minimum(v, aim.high, out=v, where=aim.above)
    return np.subtract(aim.t, v, out=v)
