"""Operator rules: one file for each family, one line for each family here."""

from onnxslim_snacs.ops import (
    conv,
    elementwise,
    matmul,
    norm,
    pool,
    rearrange,
    reshape,
    resize,
    transpose,
)
from onnxslim_snacs.ops.registry import Family, merge

#: Every operator that has a rule.  To add a family: write its file, add its line.
OPERATORS: Family = merge(
    [
        conv.RULES,
        elementwise.RULES,
        matmul.RULES,
        norm.RULES,
        pool.RULES,
        rearrange.RULES,
        reshape.RULES,
        resize.RULES,
        transpose.RULES,
    ]
)
