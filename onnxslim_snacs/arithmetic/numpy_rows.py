"""Sums and products of rows, in numpy."""

from __future__ import annotations

import numpy as np

from onnxslim_snacs.arithmetic.kernels import FloatArray, Rows, RowSums


def about_mean(rows: Rows) -> tuple[FloatArray, Rows]:
    """Mean (d,) of rows (n, d), and the products (d, d) of the rows about it."""
    mean = rows.mean(axis=0, dtype=np.float64)
    around = rows - mean.astype(np.float32)
    return mean, around.T @ around  # numpy sees that it is a product with itself


def with_each_other(rows: Rows) -> Rows:
    """Products (n, n) of rows (n, d)."""
    return rows @ rows.T


def row_sums(x: Rows, t: Rows) -> RowSums:
    """Sums over rows x (g, n, d) and t (g, n, o)."""
    ones = np.ones(x.shape[1], dtype=np.float32)
    turned = x.transpose(0, 2, 1)
    # numpy sees that it is a product with itself only in two dimensions
    xx = (turned[0] @ x[0])[None] if len(x) == 1 else turned @ x
    tt: FloatArray = np.einsum("gno,gno->go", t, t, dtype=np.float64)
    return RowSums(ones @ x, ones @ t, xx, turned @ t, tt)
