"""Arithmetic in torch, on a card or on the processor."""

from __future__ import annotations

from functools import partial

from onnxslim_snacs.arithmetic import (
    torch_buckets,
    torch_cells,
    torch_equations,
    torch_fits,
    torch_readers,
    torch_rows,
)
from onnxslim_snacs.arithmetic.kernels import Arithmetic


def torch_on(device: str) -> Arithmetic:
    """Arithmetic in torch.

    Args:
        device: "cpu" or "cuda".
    """
    return Arithmetic(
        name="torch",
        device=device,
        about_mean=partial(torch_rows.about_mean, device),
        with_each_other=partial(torch_rows.with_each_other, device),
        row_sums=partial(torch_rows.row_sums, device),
        root=partial(torch_equations.root, device),
        solver=partial(torch_equations.solver, device),
        refined=partial(torch_equations.refined, device),
        open_reader=partial(torch_readers.open_reader, device),
        fitted=partial(torch_fits.fitted, device),
        quantile_buckets=partial(torch_buckets.quantile_buckets, device),
        hash_groups=partial(torch_buckets.hash_groups, device),
        hash_outside=partial(torch_buckets.hash_outside, device),
        counter=partial(torch_cells.counter, device),
        overlaps=partial(torch_cells.overlaps, device),
    )
