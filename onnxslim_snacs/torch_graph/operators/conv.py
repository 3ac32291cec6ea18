"""Convolutions: (batch, channels, pixels ...) with weights (out, in / group, taps ...)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnxslim_snacs.torch_graph.call import Call, along
from onnxslim_snacs.torch_graph.families import Family
from onnxslim_snacs.torch_graph.late import functional
from onnxslim_snacs.torch_graph.operators.fused import activated
from onnxslim_snacs.torch_graph.operators.windows import pad_pixels, windows

if TYPE_CHECKING:
    from torch import Tensor


def conv(call: Call) -> Tensor:
    """Conv."""
    return convolve(call, call[0], call[1], call.get(2))


def convolve(call: Call, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """A convolution with the strides, pads and groups of a node."""
    at = windows(call, x.shape[2:], weight.shape[2:])
    rank = len(at.kernel)
    if rank > 3:
        raise call.refuse(f"convolves {rank} dimensions; torch knows 1, 2 and 3")
    run = (functional.conv1d, functional.conv2d, functional.conv3d)[rank - 1]
    padding = at.begin
    if not at.symmetric:
        x = pad_pixels(x, at.begin, at.end, 0.0)
        padding = (0,) * rank
    made: Tensor = run(x, weight, bias, at.strides, padding, at.dilations, call.attr("group", 1))
    return made


def conv_transpose(call: Call) -> Tensor:
    """ConvTranspose: every window, then cut to size.

    Without padding it makes stride (n - 1) + dilation (k - 1) + 1 pixels; pads take some away, and
    output_padding adds some that hold the bias alone.
    """
    x, weight, bias = call[0], call[1], call.get(2)
    rank = x.ndim - 2
    run = (
        functional.conv_transpose1d,
        functional.conv_transpose2d,
        functional.conv_transpose3d,
    )[rank - 1]
    strides = call.attr("strides") or [1] * rank
    dilations = call.attr("dilations") or [1] * rank
    more = call.attr("output_padding") or [0] * rank
    group = call.attr("group", 1)
    whole = run(x, weight, None, strides, 0, 0, group, dilations)
    begin, end = _cropped(call, list(x.shape[2:]), list(whole.shape[2:]), strides, more)
    after = [m - e for m, e in zip(more, end, strict=True)]
    made = pad_pixels(whole, [-b for b in begin], after, 0.0)
    return made if bias is None else made + along(bias, made.ndim, 1)


def _cropped(
    call: Call, sizes: list[int], whole: list[int], strides: list[int], more: list[int]
) -> tuple[list[int], list[int]]:
    """Pixels that go in front and behind."""
    rank, auto = len(sizes), call.attr("auto_pad", "NOTSET")
    wanted = call.attr("output_shape")
    if wanted:
        wanted = list(wanted)[-rank:]
    elif auto in ("SAME_UPPER", "SAME_LOWER"):
        wanted = [n * s for n, s in zip(sizes, strides, strict=True)]
    else:
        pads = list(call.attr("pads") or [0] * (2 * rank))
        return ([0] * rank, [0] * rank) if auto == "VALID" else (pads[:rank], pads[rank:])
    total = [w + m - n for w, m, n in zip(whole, more, wanted, strict=True)]
    small, large = [t // 2 for t in total], [t - t // 2 for t in total]
    return (small, large) if auto == "SAME_UPPER" else (large, small)


def fused_conv(call: Call) -> Tensor:
    """FusedConv: a convolution, plus an image, through an activation."""
    made, image = conv(call), call.get(3)
    return activated(call, made if image is None else made + image)


OPERATORS: Family = {
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "com.microsoft::FusedConv": fused_conv,
}
