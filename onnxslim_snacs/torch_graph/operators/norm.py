"""Normalisations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from onnxslim_snacs.torch_graph.call import Call, along
from onnxslim_snacs.torch_graph.families import Family
from onnxslim_snacs.torch_graph.late import functional, torch

if TYPE_CHECKING:
    from torch import Tensor


def batch_norm(call: Call) -> Any:
    """BatchNormalization with its stored statistics, or with training_mode with the batch's."""
    x, scale, bias, mean, var = (call[k] for k in range(5))
    epsilon = call.attr("epsilon", 1e-5)
    if call.opset < 9 and call.attr("spatial", 1) == 0:  # statistics of every pixel
        return (x - mean) / torch.sqrt(var + epsilon) * scale + bias
    if not call.attr("training_mode", 0):
        return _by_statistics(x, scale, bias, mean, var, epsilon)
    momentum = call.attr("momentum", 0.9)
    axes = [k for k in range(x.ndim) if k != 1]
    now_var, now_mean = torch.var_mean(x, dim=axes, correction=0)
    made = _by_statistics(x, scale, bias, now_mean, now_var, epsilon)
    kept = [
        momentum * old + (1 - momentum) * new for old, new in ((mean, now_mean), (var, now_var))
    ]
    return (made, *kept)


def _by_statistics(
    x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, var: Tensor, epsilon: float
) -> Tensor:
    """Normalised by statistics, through which gradients go where they are computed."""
    if not (mean.requires_grad or var.requires_grad):
        return functional.batch_norm(x, mean, var, scale, bias, False, 0.0, epsilon)
    mean, var, scale, bias = (along(v, x.ndim, 1) for v in (mean, var, scale, bias))
    return (x - mean) * torch.rsqrt(var + epsilon) * scale + bias


def instance_norm(call: Call) -> Tensor:
    """InstanceNormalization: statistics of every channel of every sample."""
    x = call[0]
    axes = list(range(2, x.ndim))
    made = _standardised(x, axes, call.attr("epsilon", 1e-5))[0]
    return made * along(call[1], x.ndim, 1) + along(call[2], x.ndim, 1)


def group_norm(call: Call) -> Tensor:
    """GroupNormalization; scale and bias belong to groups before opset 21, then to channels."""
    x, groups = call[0], call.attr("num_groups")
    each = x.shape[1] // groups
    parts = x.reshape(x.shape[0], groups, each, *x.shape[2:])
    made = _standardised(parts, list(range(2, parts.ndim)), call.attr("epsilon", 1e-5))[0]
    scale, bias = (
        v if v.numel() == x.shape[1] else v.repeat_interleave(each) for v in (call[1], call[2])
    )
    return made.reshape(x.shape) * along(scale, x.ndim, 1) + along(bias, x.ndim, 1)


def layer_norm(call: Call) -> Any:
    """LayerNormalization over the last dimensions, with the statistics as further outputs."""
    x = call[0]
    axes = list(range(call.attr("axis", -1) % x.ndim, x.ndim))
    made, mean, inverse = _standardised(x, axes, call.attr("epsilon", 1e-5))
    return _affine(made, call.get(1), call.get(2)), mean, inverse


def rms_norm(call: Call) -> Any:
    """RMSNormalization: no mean is taken away."""
    x = call[0]
    axes = list(range(call.attr("axis", -1) % x.ndim, x.ndim))
    made, inverse = _by_rms(x, axes, call.attr("epsilon", 1e-5))
    return _affine(made, call.get(1), None), inverse


def skip_layer_norm(call: Call) -> Any:
    """SkipLayerNormalization: of a sum of input, skip and bias, which is the fourth output."""
    total = _sum(call, 4)
    made, mean, inverse = _standardised(total, [-1], call.attr("epsilon", 1e-12))
    return _affine(made, call.get(2), call.get(3)), mean, inverse, total


def skip_rms_norm(call: Call) -> Any:
    """SkipSimplifiedLayerNormalization: RMS of a sum of input, skip and bias."""
    total = _sum(call, 3)
    made, inverse = _by_rms(total, [-1], call.attr("epsilon", 1e-12))
    return _affine(made, call.get(2), None), torch.zeros_like(inverse), inverse, total


def _sum(call: Call, bias: int) -> Tensor:
    total, more = call[0] + call[1], call.get(bias)
    return total if more is None else total + more


def embed_layer_norm(call: Call) -> Any:
    """EmbedLayerNormalization: words, positions and segments are looked up, added, normalised."""
    words, segments = call[0].long(), call.get(1)
    positions = call.get(8)
    if positions is None:
        steps = torch.arange(words.shape[1], device=call[3].device)
        positions = steps[None].expand(words.shape)
    total = call[2][words] + call[3][positions.long()]
    table = call.get(4)
    if segments is not None and table is not None:
        total = total + table[segments.long()]
    made = _standardised(total, [-1], call.attr("epsilon", 1e-12))[0]
    mask = call.get(7)
    lengths = torch.zeros(len(words), dtype=torch.int32) if mask is None else mask.sum(1).int()
    return _affine(made, call[5], call[6]), lengths, total


def mean_variance_norm(call: Call) -> Tensor:
    """MeanVarianceNormalization, over (0, 2, 3) if nothing else is said."""
    return _standardised(call[0], list(call.attr("axes", [0, 2, 3])), 1e-9)[0]


def lp_norm(call: Call) -> Tensor:
    """LpNormalization: divided by the norm along an axis; zeros stay zeros."""
    x, axis = call[0], call.attr("axis", -1)
    length = torch.linalg.vector_norm(x, call.attr("p", 2), dim=axis, keepdim=True)
    return x / torch.where(length == 0, torch.ones_like(length), length)


def local_response_norm(call: Call) -> Tensor:
    """LRN: divided by a power of the squares of neighbouring channels."""
    x, size = call[0], call.attr("size")
    before = (size - 1) // 2
    squares = functional.pad(x.square().movedim(1, -1), (before, size - 1 - before))
    sums = squares.unfold(-1, size, 1).sum(-1).movedim(-1, 1)
    alpha, beta, bias = call.attr("alpha", 1e-4), call.attr("beta", 0.75), call.attr("bias", 1.0)
    made: Tensor = x / (bias + alpha / size * sums) ** beta
    return made


def _standardised(x: Tensor, axes: list[int], epsilon: float) -> tuple[Tensor, Tensor, Tensor]:
    """(x less its mean over its spread, the mean, one over the spread)."""
    var, mean = torch.var_mean(x, dim=axes, correction=0, keepdim=True)
    inverse = torch.rsqrt(var + epsilon)
    return (x - mean) * inverse, mean, inverse


def _by_rms(x: Tensor, axes: list[int], epsilon: float) -> tuple[Tensor, Tensor]:
    inverse = torch.rsqrt(x.square().mean(dim=axes, keepdim=True) + epsilon)
    return x * inverse, inverse


def _affine(x: Tensor, scale: Tensor | None, bias: Tensor | None) -> Tensor:
    x = x if scale is None else x * scale
    return x if bias is None else x + bias


OPERATORS: Family = {
    "BatchNormalization": batch_norm,
    "InstanceNormalization": instance_norm,
    "GroupNormalization": group_norm,
    "LayerNormalization": layer_norm,
    "RMSNormalization": rms_norm,
    "SimplifiedLayerNormalization": rms_norm,
    "com.microsoft::SkipLayerNormalization": skip_layer_norm,
    "com.microsoft::SkipSimplifiedLayerNormalization": skip_rms_norm,
    "com.microsoft::EmbedLayerNormalization": embed_layer_norm,
    "MeanVarianceNormalization": mean_variance_norm,
    "LpNormalization": lp_norm,
    "LRN": local_response_norm,
}
