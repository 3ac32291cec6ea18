"""Pooling over windows, over everything, and over regions."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

from onnxslim_snacs.torch_graph.call import Call
from onnxslim_snacs.torch_graph.families import Family
from onnxslim_snacs.torch_graph.late import functional, torch
from onnxslim_snacs.torch_graph.operators.windows import Windows, pad_pixels, windows

if TYPE_CHECKING:
    from torch import Tensor


def _at(call: Call) -> Windows:
    return windows(call, call[0].shape[2:], call.attr("kernel_shape"))


def _padded(x: Tensor, at: Windows, value: float) -> Tensor:
    end = [e + more for e, more in zip(at.end, at.extra, strict=True)]
    return pad_pixels(x, at.begin, end, value)


def max_pool(call: Call) -> Any:
    """MaxPool, with the position of each maximum in the whole tensor as second output."""
    x, at = call[0], _at(call)
    rank = len(at.kernel)
    run = (functional.max_pool1d, functional.max_pool2d, functional.max_pool3d)[rank - 1]
    whole = x if x.is_floating_point() else x.to(call.floating)  # torch pools no bytes
    padded = _padded(whole, at, float("-inf"))
    made, index = run(
        padded, at.kernel, at.strides, 0, at.dilations, ceil_mode=False, return_indices=True
    )
    if not call.wants(1):
        return made.to(x.dtype)
    order = range(rank)
    places: list[Tensor] = []
    for k in reversed(order):
        places.insert(0, index % padded.shape[2 + k] - at.begin[k])
        index = index // padded.shape[2 + k]
    flat = torch.zeros_like(index)
    for k in reversed(order) if call.attr("storage_order", 0) else order:
        flat = flat * x.shape[2 + k] + places[k]
    maps = torch.arange(x.shape[0] * x.shape[1], device=x.device).reshape(x.shape[:2])
    return made.to(x.dtype), flat + (maps * prod(x.shape[2:])).reshape(*x.shape[:2], *[1] * rank)


def average_pool(call: Call) -> Tensor:
    """AveragePool; padding counts where count_include_pad says so."""
    x, at = call[0], _at(call)
    counted = torch.ones((1, 1, *x.shape[2:]), dtype=x.dtype, device=x.device)
    if call.attr("count_include_pad", 0):
        counted = pad_pixels(counted, at.begin, at.end, 1.0)
        rest = [0] * len(at.kernel)
        counted = pad_pixels(counted, rest, at.extra, 0.0)
    else:
        counted = _padded(counted, at, 0.0)
    return _sums(_padded(x, at, 0.0), at) / _sums(counted, at)


def lp_pool(call: Call) -> Tensor:
    """LpPool: the p-norm of each window."""
    p = call.attr("p", 2)
    powers = torch.pow(_padded(call[0], _at(call), 0.0).abs(), p)
    return torch.pow(_sums(powers, _at(call)), 1.0 / p)


def _sums(x: Tensor, at: Windows) -> Tensor:
    """Sum over each window, in views of the padded pixels."""
    rank = len(at.kernel)
    if set(at.dilations) == {1}:
        run = (functional.avg_pool1d, functional.avg_pool2d, functional.avg_pool3d)[rank - 1]
        sums: Tensor = run(x, at.kernel, at.strides) * float(prod(at.kernel))
        return sums
    for k, (taps, stride, dilation) in enumerate(
        zip(at.kernel, at.strides, at.dilations, strict=True)
    ):
        x = x.unfold(2 + k, dilation * (taps - 1) + 1, stride)[..., ::dilation].sum(-1)
    return x


def global_average_pool(call: Call) -> Tensor:
    """GlobalAveragePool."""
    return call[0].mean(dim=list(range(2, call[0].ndim)), keepdim=True)


def global_max_pool(call: Call) -> Tensor:
    """GlobalMaxPool."""
    return call[0].amax(dim=list(range(2, call[0].ndim)), keepdim=True)


def global_lp_pool(call: Call) -> Tensor:
    """GlobalLpPool."""
    axes = list(range(2, call[0].ndim))
    made: Tensor = torch.linalg.vector_norm(call[0], call.attr("p", 2), dim=axes, keepdim=True)
    return made


def max_unpool(call: Call) -> Tensor:
    """MaxUnpool: each value at the place that its index names, zeros elsewhere.

    Indices count in the input that the output_shape or the attributes describe, not in what
    output_shape makes of it: the rest is padded.
    """
    x, index = call[0], call[1]
    kernel = call.attr("kernel_shape")
    rank = len(kernel)
    strides = call.attr("strides") or [1] * rank
    pads = call.attr("pads") or [0] * (2 * rank)
    natural = [
        (n - 1) * s + k - pads[d] - pads[d + rank]
        for d, (n, s, k) in enumerate(zip(x.shape[2:], strides, kernel, strict=True))
    ]
    wanted = call.ints(2)
    shape = [*x.shape[:2], *(wanted[2:] if wanted else natural)]
    flat = torch.zeros(prod(shape), dtype=x.dtype, device=x.device)
    made = flat.scatter(0, index.reshape(-1).long(), x.reshape(-1)).reshape(shape)
    return made


OPERATORS: Family = {
    "MaxPool": max_pool,
    "AveragePool": average_pool,
    "LpPool": lp_pool,
    "GlobalAveragePool": global_average_pool,
    "GlobalMaxPool": global_max_pool,
    "GlobalLpPool": global_lp_pool,
    "MaxUnpool": max_unpool,
}
