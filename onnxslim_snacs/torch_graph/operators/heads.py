"""What all forms of attention share: heads, masks, softmax."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnxslim_snacs.torch_graph.late import torch

if TYPE_CHECKING:
    from torch import Tensor


def split_heads(x: Tensor, heads: int) -> Tensor:
    """(batch, steps, heads x width) -> (batch, heads, steps, width)."""
    batch, steps, wide = x.shape
    return x.reshape(batch, steps, heads, wide // heads).transpose(1, 2)


def join_heads(x: Tensor) -> Tensor:
    """(batch, heads, steps, width) -> (batch, steps, heads x width)."""
    batch, heads, steps, width = x.shape
    return x.transpose(1, 2).reshape(batch, steps, heads * width)


def repeat_heads(x: Tensor, heads: int) -> Tensor:
    """Shared heads, each as often as there are queries that look at it."""
    return x if x.shape[1] == heads else x.repeat_interleave(heads // x.shape[1], 1)


def causal(scores: Tensor, past: int) -> Tensor:
    """(queries, keys) of scores (..., queries, keys): whether a query may look at a key.

    `past` keys come before the first query.
    """
    queries, keys = scores.shape[-2:]
    rows = torch.arange(queries, device=scores.device)[:, None] + past
    return torch.arange(keys, device=scores.device)[None] <= rows


def masked(scores: Tensor, allowed: Tensor, value: float | None = None) -> Tensor:
    """Scores with what may not be looked at at `value`, or as low as numbers go."""
    low = torch.finfo(scores.dtype).min if value is None else value
    return torch.where(allowed, scores, torch.full((), low, dtype=scores.dtype).to(scores.device))


def capped(scores: Tensor, cap: float) -> Tensor:
    """Scores bent to lie within the cap, if there is one."""
    return cap * torch.tanh(scores / cap) if cap else scores
