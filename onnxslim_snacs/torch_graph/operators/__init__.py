"""Operators in torch: one file for each family, one line for each family here."""

from onnxslim_snacs.torch_graph.families import merge
from onnxslim_snacs.torch_graph.operators import (
    activation,
    attention,
    attention_microsoft,
    control,
    conv,
    deform,
    elementwise,
    gather,
    matmul,
    movement,
    norm,
    pieces,
    pool,
    quantize,
    recurrent,
    reduce,
    resize,
    rotary,
    sample,
    sequence,
    source,
)

#: Every operator that torch can run.  To add a family: write its file, add its line.
OPERATORS = merge(
    [
        activation.OPERATORS,
        attention.OPERATORS,
        attention_microsoft.OPERATORS,
        control.OPERATORS,
        conv.OPERATORS,
        deform.OPERATORS,
        elementwise.OPERATORS,
        gather.OPERATORS,
        matmul.OPERATORS,
        movement.OPERATORS,
        norm.OPERATORS,
        pieces.OPERATORS,
        pool.OPERATORS,
        quantize.OPERATORS,
        recurrent.OPERATORS,
        reduce.OPERATORS,
        resize.OPERATORS,
        rotary.OPERATORS,
        sample.OPERATORS,
        sequence.OPERATORS,
        source.OPERATORS,
    ]
)
