"""ONNX Runtime's fused attention: Attention, MultiHeadAttention, GroupQueryAttention."""

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
    masked,
    repeat_heads,
    split_heads,
)
from onnxslim_snacs.torch_graph.operators.rotary import turn

if TYPE_CHECKING:
    from torch import Tensor


def attention(call: Call) -> Any:
    """Attention: one weight for queries, keys and values, which lie behind each other."""
    x, weight, bias, heads = call[0], call[1], call.get(2), call.attr("num_heads")
    if call.attr("do_rotary", 0):
        raise call.refuse("turns its keys (do_rotary), which torch does not run")
    sizes = call.attr("qkv_hidden_sizes") or [weight.shape[1] // 3] * 3
    packed = x @ weight
    packed = packed if bias is None else packed + bias
    q, k, v = (split_heads(part, heads) for part in torch.split(packed, list(sizes), -1))
    past = call.get(4)
    before = 0
    if past is not None:
        before = past.shape[3]
        k, v = torch.cat([past[0], k], 2), torch.cat([past[1], v], 2)
    scores = (q @ k.transpose(-1, -2)) * (call.attr("scale") or 1.0 / sqrt(q.shape[-1]))
    more = call.get(5)
    scores = scores if more is None else scores + more
    low = call.attr("mask_filter_value", -10000.0)
    allowed = _allowed(call.get(3), scores)
    if allowed is not None:
        scores = scores + torch.where(allowed, 0.0, low).to(scores.dtype)
    if call.attr("unidirectional", 0):
        scores = masked(scores, causal(scores, before))
    made = join_heads(scores.softmax(-1) @ v)
    return (made, torch.stack([k, v])) if call.wants(1) else made


def _allowed(mask: Tensor | None, scores: Tensor) -> Tensor | None:
    """The mask as it broadcasts to (batch, heads, queries, keys), whichever form it has."""
    if mask is None:
        return None
    batch, _, _, keys = scores.shape
    places = torch.arange(keys, device=scores.device)
    mask = mask.to(scores.device)
    if mask.ndim == 1:  # ends of the sequences, perhaps followed by their starts
        ends = mask[:batch, None]
        allowed = places < ends
        if len(mask) == 2 * batch:
            allowed = allowed & (places >= mask[batch:, None])
        return allowed[:, None, None]
    rest = {2: (slice(None), None, None), 3: (slice(None), None)}
    return (mask > 0)[rest.get(mask.ndim, (slice(None),))]


def multi_head(call: Call) -> Any:
    """MultiHeadAttention: output, present keys and values, scores."""
    heads = call.attr("num_heads")
    q, k, v = _operands(call, heads)
    past_k, past_v = call.get(6), call.get(7)
    before = 0
    if past_k is not None and past_v is not None:
        before = past_k.shape[2]
        k, v = torch.cat([past_k, k], 2), torch.cat([past_v, v], 2)
    scores = (q @ k.transpose(-1, -2)) * (call.attr("scale") or 1.0 / sqrt(q.shape[-1]))
    more = call.get(5)
    scores = scores if more is None else scores + more
    allowed = _allowed(call.get(4), scores)
    if allowed is not None:
        low = call.attr("mask_filter_value", -10000.0)
        scores = scores + torch.where(allowed, 0.0, low).to(scores.dtype)
    if call.attr("unidirectional", 0):
        scores = masked(scores, causal(scores, before))
    return join_heads(scores.softmax(-1) @ v), k, v, scores


def _operands(call: Call, heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values (batch, heads, steps, width), however they come."""
    q, k, v, bias = call[0], call.get(1), call.get(2), call.get(3)
    if q.ndim == 5:  # (batch, steps, heads, 3, width)
        packed = q.permute(3, 0, 2, 1, 4)
        return packed[0], packed[1], packed[2]
    if bias is not None:
        wide = q.shape[-1]
        q = q + bias[:wide]
        if k is not None and k.ndim == 3:
            k = k + bias[wide : 2 * wide]
        if v is not None and v.ndim == 3:
            v = v + bias[2 * wide :]
    assert k is not None
    if k.ndim == 5:  # (batch, steps, heads, 2, width)
        both = k.permute(3, 0, 2, 1, 4)
        return split_heads(q, heads), both[0], both[1]
    assert v is not None
    k = k if k.ndim == 4 else split_heads(k, heads)
    v = v if v.ndim == 4 else split_heads(v, heads)
    return split_heads(q, heads), k, v


def group_query(call: Call) -> Any:
    """GroupQueryAttention: output, present keys, present values.

    Queries look back only; `seqlens_k` (batch,) are the keys of each sequence less one.  Sequences
    of different lengths may stand in one batch only without past keys.
    """
    heads, shared = call.attr("num_heads"), call.attr("kv_num_heads")
    q = call[0]
    if call.get(1) is None:  # packed: heads of queries, keys, values
        width = q.shape[-1] // (heads + 2 * shared)
        sizes = [heads * width, shared * width, shared * width]
        q, k, v = torch.split(q, sizes, -1)
    else:
        k, v = call[1], call[2]
    q, k, v = split_heads(q, heads), split_heads(k, shared), split_heads(v, shared)
    lengths = call[5].reshape(-1).long().to(q.device) + 1
    steps = q.shape[2]
    before = int(lengths.max().item()) - steps
    past_k, past_v = call.get(3), call.get(4)
    has_past = past_k is not None and past_k.shape[2] > 0 and before > 0
    if has_past and len(set(lengths.tolist())) > 1:
        raise call.refuse("has past keys of different lengths, which torch does not run")
    if call.attr("do_rotary", 0):
        start = max(before, 0)
        cos, sin = (table[start : start + steps] for table in (call[7], call[8]))
        pairs = bool(call.attr("rotary_interleaved", 0))
        q, k = (turn(x, cos, sin, interleaved=pairs) for x in (q, k))
    if has_past and past_k is not None and past_v is not None:
        k = torch.cat([past_k[:, :, :before], k], 2)
        v = torch.cat([past_v[:, :, :before], v], 2)
    present, before = (k, v), k.shape[2] - steps
    k, v = repeat_heads(k, heads), repeat_heads(v, heads)
    scores = (q @ k.transpose(-1, -2)) * (call.attr("scale") or 1.0 / sqrt(q.shape[-1]))
    scores = capped(scores, call.attr("softcap", 0.0))
    more = call.get(10)
    scores = scores if more is None else scores + more
    allowed = causal(scores, before)
    window = call.attr("local_window_size", -1)
    if window > 0:
        allowed = allowed & ~causal(scores, before - window)
    scores = masked(scores, allowed)
    return (join_heads(scores.softmax(-1) @ v), *present)


OPERATORS: Family = {
    "com.microsoft::Attention": attention,
    "com.microsoft::MultiHeadAttention": multi_head,
    "com.microsoft::GroupQueryAttention": group_query,
}
