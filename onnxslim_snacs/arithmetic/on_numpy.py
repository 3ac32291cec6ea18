"""Arithmetic in numpy: what everything is computed with where there is no card."""

from __future__ import annotations

from onnxslim_snacs.arithmetic.kernels import Arithmetic
from onnxslim_snacs.arithmetic.numpy_buckets import hash_groups, hash_outside, quantile_buckets
from onnxslim_snacs.arithmetic.numpy_cells import counter, overlaps
from onnxslim_snacs.arithmetic.numpy_equations import refined, root, solver
from onnxslim_snacs.arithmetic.numpy_fits import fitted
from onnxslim_snacs.arithmetic.numpy_readers import open_reader
from onnxslim_snacs.arithmetic.numpy_rows import about_mean, row_sums, with_each_other

NUMPY = Arithmetic(
    name="numpy",
    device="cpu",
    about_mean=about_mean,
    with_each_other=with_each_other,
    row_sums=row_sums,
    root=root,
    solver=solver,
    refined=refined,
    open_reader=open_reader,
    fitted=fitted,
    quantile_buckets=quantile_buckets,
    hash_groups=hash_groups,
    hash_outside=hash_outside,
    counter=counter,
    overlaps=overlaps,
)
