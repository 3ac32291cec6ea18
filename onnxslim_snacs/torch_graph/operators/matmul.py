"""Products of matrices."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnxslim_snacs.torch_graph.call import Call, together
from onnxslim_snacs.torch_graph.families import Family
from onnxslim_snacs.torch_graph.late import torch
from onnxslim_snacs.torch_graph.operators.fused import activated

if TYPE_CHECKING:
    from torch import Tensor


def matmul(call: Call) -> Tensor:
    """MatMul, (batch ..., m, k) with (batch ..., k, n)."""
    return torch.matmul(*together(call[0], call[1]))


def gemm(call: Call) -> Tensor:
    """Gemm: alpha A' B' + beta C."""
    (a, b), c = together(call[0], call[1]), call.get(2)
    a = a.T if call.attr("transA", 0) else a
    b = b.T if call.attr("transB", 0) else b
    alpha, beta = call.attr("alpha", 1.0), call.attr("beta", 1.0)
    made: Tensor = a @ b
    made = made if alpha == 1.0 else _scaled(made, alpha)
    if c is None:
        return made
    return made + (c if beta == 1.0 else _scaled(c, beta))


def _scaled(x: Tensor, factor: float) -> Tensor:
    return factor * x if x.is_floating_point() else (factor * x.double()).to(x.dtype)


def einsum(call: Call) -> Tensor:
    """Einsum."""
    return torch.einsum(call.attr("equation").replace(" ", ""), *together(*call.inputs))


def fused_matmul(call: Call) -> Tensor:
    """FusedMatMul: operands are transposed on the way, the product is scaled."""
    sides = []
    for side, x in zip("AB", together(call[0], call[1]), strict=True):
        if call.attr(f"transBatch{side}", 0):  # (m, batch ..., k)
            x = x.movedim(0, -2)
        sides.append(x.transpose(-1, -2) if call.attr(f"trans{side}", 0) and x.ndim > 1 else x)
    made: Tensor = torch.matmul(*sides) * call.attr("alpha", 1.0)
    return made


def fused_gemm(call: Call) -> Tensor:
    """FusedGemm: Gemm through an activation."""
    return activated(call, gemm(call))


OPERATORS: Family = {
    "MatMul": matmul,
    "Gemm": gemm,
    "Einsum": einsum,
    "com.microsoft::FusedMatMul": fused_matmul,
    "com.microsoft::TransposeMatMul": fused_matmul,
    "com.microsoft::FusedGemm": fused_gemm,
}
