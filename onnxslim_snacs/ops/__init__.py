"""Operator rules: one file for each family, one line for each family here."""

from onnxslim_snacs.ops import (
    attention,
    attention_packed,
    concat,
    contrib,
    conv,
    elementwise,
    expand,
    gather,
    matmul,
    norm,
    pad,
    place,
    pool,
    quantize,
    rearrange,
    recurrent,
    reduce,
    reshape,
    resize,
    rotary,
    scatter,
    slice,
    source,
    transpose,
)
from onnxslim_snacs.ops.registry import Family, merge

#: Every operator that has a rule.  To add a family: write its file, add its line.
OPERATORS: Family = merge(
    [
        attention.RULES,
        attention_packed.RULES,
        concat.RULES,
        contrib.RULES,
        conv.RULES,
        elementwise.RULES,
        expand.RULES,
        gather.RULES,
        matmul.RULES,
        norm.RULES,
        pad.RULES,
        place.RULES,
        pool.RULES,
        quantize.RULES,
        rearrange.RULES,
        recurrent.RULES,
        reduce.RULES,
        reshape.RULES,
        resize.RULES,
        rotary.RULES,
        scatter.RULES,
        slice.RULES,
        source.RULES,
        transpose.RULES,
    ]
)
