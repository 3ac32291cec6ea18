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
from onnxslim_snacs.ops.products import Product, Weight, contraction, convolution
from onnxslim_snacs.ops.registry import Family, OpRule


def propagate_fused_conv(node: OpNode) -> Iterable[Fact]:
    """FusedConv: Conv, plus an image Z of the output's shape."""
    yield from conv.propagate_conv(node)
    if node.has_input(3):
        yield from broadcast_one(node, 3, known(node.out_shape()))


def propagate_fused_matmul(node: OpNode) -> Iterable[Fact]:
    """FusedMatMul: MatMul with operands that are transposed on the way."""
    yield from matmul.contract(node, *_labels(node))


def macs_fused_matmul(node: OpNode) -> Iterable[Product]:
    """Products of FusedMatMul."""
    unknown = node.in_shape(0) is None or node.in_shape(1) is None
    return () if unknown else contraction(node, *_labels(node))


def _labels(node: OpNode) -> tuple[dict[int, matmul.Labels], matmul.Labels]:
    """MatMul's labels, in the order of the operands as they are given."""
    operands, out = matmul.matmul_labels(known(node.in_shape(0)), known(node.in_shape(1)))
    turned: dict[int, matmul.Labels] = {
        k: _turned(
            list(labels), node.attr(f"trans{'AB'[k]}", 0), node.attr(f"transBatch{'AB'[k]}", 0)
        )
        for k, labels in operands.items()
    }
    return turned, out


def _turned(labels: list[str], matrix: int, batch: int) -> list[str]:
    """The labels as they stand before the operator transposes them."""
    if len(labels) < 2:
        return labels
    if matrix:
        labels[-2:] = labels[:-3:-1]
    return [labels[-2], *labels[:-2], labels[-1]] if batch else labels


RULES: Family = {
    "com.microsoft::FusedConv": OpRule(
        propagate_fused_conv, conv.shrink, convolution, Weight((1, 2))
    ),
    "com.microsoft::FusedMatMul": OpRule(
        propagate_fused_matmul, macs=macs_fused_matmul, weight=Weight((0, 1))
    ),
    "com.microsoft::TransposeMatMul": OpRule(
        propagate_fused_matmul, macs=macs_fused_matmul, weight=Weight((0, 1))
    ),
    "com.microsoft::FusedGemm": OpRule(
        matmul.propagate_gemm, macs=matmul.macs_gemm, weight=Weight((0, 1, 2))
    ),
    "com.microsoft::BiasGelu": OpRule(propagate_nary),
}
