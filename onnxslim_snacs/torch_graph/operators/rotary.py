"""Rotary embeddings: pairs of a head's numbers turned by an angle that grows with the position."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnxslim_snacs.torch_graph.call import Call
from onnxslim_snacs.torch_graph.families import Family
from onnxslim_snacs.torch_graph.late import torch

if TYPE_CHECKING:
    from torch import Tensor


def rotary(call: Call) -> Tensor:
    """ONNX's RotaryEmbedding: (x, cos, sin, positions)."""
    return _run(call, call.get(3), call[1], call[2])


def rotary_microsoft(call: Call) -> Tensor:
    """ONNX Runtime's: (x, positions, cos, sin); a single position is that of the first step."""
    return _run(call, call[1], call[2], call[3])


def _run(call: Call, positions: Tensor | None, cos: Tensor, sin: Tensor) -> Tensor:
    x = call[0]
    heads, flat = call.attr("num_heads", 0), x.ndim == 3
    width = call.attr("rotary_embedding_dim", 0)
    if flat:  # (batch, steps, heads x width) -> (batch, heads, steps, width)
        heads = heads or x.shape[-1] // (width or 2 * cos.shape[-1])
        x = x.reshape(*x.shape[:2], heads, -1).transpose(1, 2)
    if positions is not None:
        if positions.numel() == 1 and x.shape[0] * x.shape[2] > 1:
            steps = torch.arange(x.shape[2], device=positions.device)
            positions = (positions.reshape(1, 1) + steps[None]).expand(x.shape[0], -1)
        positions = positions.reshape(x.shape[0], -1).long().to(cos.device)
        cos, sin = cos[positions], sin[positions]  # (batch, steps, half)
    turned = turn(x, cos[:, None], sin[:, None], interleaved=bool(call.attr("interleaved", 0)))
    return turned.transpose(1, 2).flatten(2) if flat else turned


def turn(x: Tensor, cos: Tensor, sin: Tensor, *, interleaved: bool) -> Tensor:
    """Turn the first numbers of each head; cos and sin broadcast to (..., steps, half)."""
    half = cos.shape[-1]
    first, rest = x[..., : 2 * half], x[..., 2 * half :]
    a, b = (first[..., ::2], first[..., 1::2]) if interleaved else first.chunk(2, -1)
    left, right = a * cos - b * sin, b * cos + a * sin
    both = (
        torch.stack([left, right], -1).flatten(-2) if interleaved else torch.cat([left, right], -1)
    )
    return torch.cat([both, rest], -1)


OPERATORS: Family = {
    "RotaryEmbedding": rotary,
    "com.microsoft::RotaryEmbedding": rotary_microsoft,
}
