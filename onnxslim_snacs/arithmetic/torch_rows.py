"""Sums and products of rows, in torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnxslim_snacs.arithmetic.kernels import FloatArray, Rows, RowSums
from onnxslim_snacs.arithmetic.torch_arrays import put, taken
from onnxslim_snacs.torch_graph.late import torch

if TYPE_CHECKING:
    from torch import Tensor


def about_mean(device: str, rows: Rows | Tensor) -> tuple[FloatArray, Rows]:
    """As `numpy_rows.about_mean`; the rows may lie there already."""
    here = put(rows, device)
    mean = here.mean(dim=0, dtype=torch.float64)
    around = here - mean.to(torch.float32)
    return taken(mean), taken(around.T @ around)


def with_each_other(device: str, rows: Rows) -> Rows:
    """As `numpy_rows.with_each_other`."""
    here = put(rows, device)
    return taken(here @ here.T)


def channel_sums(rows: Tensor) -> tuple[int, FloatArray, FloatArray]:
    """How many rows (n, d) there are, and their sums and sums of squares (d,)."""
    double = rows.to(torch.float64)
    return len(rows), taken(double.sum(dim=0)), taken(double.square().sum(dim=0))


def row_sums(device: str, x: Rows, t: Rows) -> RowSums:
    """As `numpy_rows.row_sums`."""
    x_here, t_here = put(x, device), put(t, device)
    turned = x_here.mT
    return RowSums(
        taken(x_here.sum(dim=1)),
        taken(t_here.sum(dim=1)),
        taken(turned @ x_here),
        taken(turned @ t_here),
        taken(t_here.to(torch.float64).square().sum(dim=1)),
    )
