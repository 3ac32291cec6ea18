"""ONNX Runtime's fused operators: a convolution, product or activation with what surrounds it.

FusedConv adds an image to the convolution's output before the activation; FusedMatMul transposes
its operands: (batch..., m, k), with transA (batch..., k, m), with transBatchA (m, batch..., k).
"""

from __future__ import annotations

from collections.abc import Iterable

from onnxslim_snacs.ir.types import Fact
from onnxslim_snacs.ops import conv, matmul
from onnxslim_snacs.ops.common import broadcast_one
from onnxslim_snacs.ops.elementwise import propagate_nary
from onnxslim_snacs.ops.node import OpNode, known
from onnxslim_snacs.ops.registry import Family, OpRule


def propagate_fused_conv(node: OpNode) -> Iterable[Fact]:
    """FusedConv: Conv, plus an image Z of the output's shape."""
    yield from conv.propagate_conv(node)
    if node.has_input(3):
        yield from broadcast_one(node, 3, known(node.out_shape()))


def propagate_fused_matmul(node: OpNode) -> Iterable[Fact]:
    """FusedMatMul: MatMul with operands that are transposed on the way."""
    operands, out = matmul.matmul_labels(known(node.in_shape(0)), known(node.in_shape(1)))
    turned = {
        k: _turned(
            list(labels), node.attr(f"trans{'AB'[k]}", 0), node.attr(f"transBatch{'AB'[k]}", 0)
        )
        for k, labels in operands.items()
    }
    yield from matmul.contract(node, turned, out)


def _turned(labels: list[str], matrix: int, batch: int) -> list[str]:
    """The labels as they stand before the operator transposes them."""
    if len(labels) < 2:
        return labels
    if matrix:
        labels[-2:] = labels[:-3:-1]
    return [labels[-2], *labels[:-2], labels[-1]] if batch else labels


RULES: Family = {
    "com.microsoft::FusedConv": OpRule(propagate_fused_conv, conv.shrink),
    "com.microsoft::FusedMatMul": OpRule(propagate_fused_matmul),
    "com.microsoft::TransposeMatMul": OpRule(propagate_fused_matmul),
    "com.microsoft::FusedGemm": OpRule(matmul.propagate_gemm),
    "com.microsoft::BiasGelu": OpRule(propagate_nary),
}
