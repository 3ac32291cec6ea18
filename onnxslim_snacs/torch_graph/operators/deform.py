"""DeformConv: a convolution whose taps lie where offsets say, between pixels (Dai et al. 2017)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnxslim_snacs.torch_graph.call import Call, along
from onnxslim_snacs.torch_graph.families import Family
from onnxslim_snacs.torch_graph.late import functional, torch

if TYPE_CHECKING:
    from torch import Tensor


def deform_conv(call: Call) -> Tensor:
    """DeformConv, (batch, channels, height, width) with offsets (batch, groups x taps x 2, ...)."""
    x, weight, offset, bias, mask = call[0], call[1], call[2], call.get(3), call.get(4)
    batch, out = len(x), tuple(offset.shape[2:])
    taps, shares = weight.shape[2] * weight.shape[3], call.attr("offset_group", 1)
    moved = offset.reshape(batch, shares, taps, 2, *out) + _places(call, x, weight, out)
    parts = []
    for share, channels in enumerate(x.chunk(shares, 1)):
        at = moved[:, share]  # (batch, taps, 2, height, width)
        sizes = torch.tensor(x.shape[2:], dtype=x.dtype, device=x.device).reshape(2, 1, 1)
        grid = ((2 * at + 1) / sizes - 1).movedim(2, -1).flip(-1)  # columns come first
        read = functional.grid_sample(channels, grid.flatten(1, 2), align_corners=False)
        parts.append(read.reshape(batch, -1, taps, *out))
        if mask is not None:
            weights = mask.reshape(batch, shares, 1, taps, *out)
            parts[-1] = parts[-1] * weights[:, share]
    groups = call.attr("group", 1)
    rows = torch.cat(parts, 1).reshape(batch, groups, -1, out[0] * out[1])
    filters = weight.reshape(groups, weight.shape[0] // groups, -1)
    made: Tensor = torch.einsum("ngkp,gok->ngop", rows, filters).reshape(batch, -1, *out)
    return made if bias is None else made + along(bias, made.ndim, 1)


def _places(call: Call, x: Tensor, weight: Tensor, out: tuple[int, ...]) -> Tensor:
    """(taps, 2, height, width) where each tap lies without an offset, row and column."""
    pads = call.attr("pads") or [0, 0, 0, 0]
    strides, dilations = call.attr("strides") or [1, 1], call.attr("dilations") or [1, 1]
    lines = []
    for k in range(2):
        tap = torch.arange(weight.shape[2 + k], dtype=x.dtype, device=x.device) * dilations[k]
        place = torch.arange(out[k], dtype=x.dtype, device=x.device) * strides[k] - pads[k]
        lines.append(tap[:, None] + place)  # (taps, places) of one side
    high, wide = lines
    rows = high[:, None, :, None].expand(-1, len(wide), -1, out[1])
    columns = wide[None, :, None, :].expand(len(high), -1, out[0], -1)
    return torch.stack([rows, columns], 2).flatten(0, 1)


OPERATORS: Family = {"DeformConv": deform_conv}
