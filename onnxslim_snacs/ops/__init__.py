"""Operator rules: one file for each family, one line for each family here."""

from onnxslim_snacs.ops import (
    concat,
    conv,
    elementwise,
    matmul,
    norm,
    pad,
    pool,
    rearrange,
    recurrent,
    reduce,
    reshape,
    resize,
    slice,
    transpose,
)
from onnxslim_snacs.ops.registry import Family, merge

#: Every operator that has a rule.  To add a family: write its file, add its line.
OPERATORS: Family = merge(
    [
        concat.RULES,
        conv.RULES,
        elementwise.RULES,
        matmul.RULES,
        norm.RULES,
        pad.RULES,
        pool.RULES,
        rearrange.RULES,
        recurrent.RULES,
        reduce.RULES,
        reshape.RULES,
        resize.RULES,
        slice.RULES,
        transpose.RULES,
    ]
)
