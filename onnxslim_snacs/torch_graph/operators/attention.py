"""ONNX's Attention (opset 23): three or four dimensions, shared heads, past keys, masks."""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING, Any

from onnxslim_snacs.torch_graph.call import Call
from onnxslim_snacs.torch_graph.families import Family
from onnxslim_snacs.torch_graph.late import torch
from onnxslim_snacs.torch_graph.operators.heads import (
    capped,
    causal,
    join_heads,
    repeat_heads,
    split_heads,
)

if TYPE_CHECKING:
    from torch import Tensor


def attention(call: Call) -> Any:
    """Attention: output, present keys, present values, and the scores if they are asked for."""
    q, k, v = call[0], call[1], call[2]
    flat = q.ndim == 3
    if flat:
        queries, shared = call.attr("q_num_heads"), call.attr("kv_num_heads")
        q, k, v = split_heads(q, queries), split_heads(k, shared), split_heads(v, shared)
    past = 0
    past_k, past_v = call.get(4), call.get(5)
    if past_k is not None and past_v is not None:
        past = past_k.shape[2]
        k, v = torch.cat([past_k, k], 2), torch.cat([past_v, v], 2)
    present = (k, v)
    k, v = repeat_heads(k, q.shape[1]), repeat_heads(v, q.shape[1])
    scale = call.attr("scale") or 1.0 / sqrt(q.shape[-1])
    stages = [(q * sqrt(scale)) @ (k * sqrt(scale)).transpose(-1, -2)]
    bias = _bias(call, stages[0], past)
    stages.append(capped(stages[0], call.attr("softcap", 0.0)))
    stages.append(stages[1] if bias is None else stages[1] + bias)
    weights = stages[2].softmax(-1)
    stages.append(weights)
    made = weights @ v
    out = join_heads(made) if flat else made
    return (out, *present, stages[call.attr("qk_matmul_output_mode", 0)])


def _bias(call: Call, scores: Tensor, past: int) -> Tensor | None:
    """What is added to the scores: the mask, and what causality and lengths forbid."""
    mask, bias = call.get(3), None
    keys = scores.shape[-1]
    low = torch.full((), float("-inf"), dtype=scores.dtype, device=scores.device)
    none = torch.zeros_like(low)
    if mask is not None:
        bias = torch.where(mask, none, low) if mask.dtype == torch.bool else mask
        if bias.shape[-1] < keys:  # keys behind the mask are not looked at
            missing = low.expand(*bias.shape[:-1], keys - bias.shape[-1])
            bias = torch.cat([bias, missing], -1)
    if call.attr("is_causal", 0):
        seen = torch.where(causal(scores, past), none, low)
        bias = seen if bias is None else bias + seen
    lengths = call.get(6)
    if lengths is not None:
        inside = torch.arange(keys, device=scores.device) < lengths.reshape(-1, 1, 1, 1)
        seen = torch.where(inside, none, low)
        bias = seen if bias is None else bias + seen
    return bias


OPERATORS: Family = {"Attention": attention}
