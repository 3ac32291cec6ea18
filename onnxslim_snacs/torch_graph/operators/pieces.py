"""Operators that cut tensors into pieces, join them, or surround them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from onnxslim_snacs.torch_graph.call import Call, along, together
from onnxslim_snacs.torch_graph.families import Family
from onnxslim_snacs.torch_graph.late import functional, torch

if TYPE_CHECKING:
    from torch import Tensor


def concat(call: Call) -> Tensor:
    """Concat."""
    return torch.cat(together(*call.inputs), dim=call.attr("axis", 1))


def split(call: Call) -> Any:
    """Split, in the sizes given or in equal parts, the last of which may be smaller."""
    x, axis = call[0], call.attr("axis", 0)
    sizes = call.ints(1, "split")
    if sizes is None:
        parts = call.attr("num_outputs", len(call.outputs))
        extent = x.shape[axis]
        each = -(-extent // parts)
        sizes = [max(0, min(each, extent - k * each)) for k in range(parts)]
    return tuple(torch.split(x, sizes, dim=axis))


def slice_(call: Call) -> Tensor:
    """Slice, with steps of either sign."""
    x = call[0]
    starts, ends = call.ints(1, "starts") or [], call.ints(2, "ends") or []
    axes = call.ints(3, "axes") or list(range(len(starts)))
    steps = call.ints(4) or [1] * len(starts)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        number = range(*slice(start, end, step).indices(x.shape[axis]))
        if step > 0:
            index = [slice(None)] * (axis % x.ndim)
            x = x[(*index, slice(number.start, max(number.stop, number.start), step))]
        else:
            x = x.index_select(axis, torch.tensor(list(number), dtype=torch.long, device=x.device))
    return x


def pad(call: Call) -> Tensor:
    """Pad by a constant, by what is there (reflect, edge) or round the other end (wrap)."""
    x = call[0]
    pads = call.ints(1, "pads" if call.opset > 1 else "paddings") or []
    axes = call.ints(3) or list(range(x.ndim))
    mode = call.attr("mode", "constant")
    value = call.scalar(2, "value", 0)
    for k, axis in enumerate(axes):
        before, after = pads[k], pads[k + len(axes)]
        if before or after:
            x = _pad_axis(x, axis % x.ndim, before, after, mode, value)
    return x


def _pad_axis(x: Tensor, axis: int, before: int, after: int, mode: str, value: Any) -> Tensor:
    if mode == "constant" or before < 0 or after < 0:
        flat = [0, 0] * (x.ndim - 1 - axis) + [before, after]
        made: Tensor = functional.pad(x, flat, value=value)
        return made
    extent = x.shape[axis]
    place = torch.arange(-before, extent + after, device=x.device)
    if mode == "edge":
        place = place.clamp(0, extent - 1)
    elif mode == "wrap":
        place = place % extent
    else:  # reflect: there and back again without repeating the ends
        period = max(1, 2 * (extent - 1))
        place = place % period
        place = torch.where(place < extent, place, period - place)
    return x.index_select(axis, place)


def center_crop_pad(call: Call) -> Tensor:
    """CenterCropPad: the middle of the input, or zeros around it."""
    x = call[0]
    shape = call.ints(1) or []
    axes = call.attr("axes") or list(range(x.ndim))
    for extent, axis in zip(shape, axes, strict=True):
        lacking = extent - x.shape[axis]
        before = lacking // 2 if lacking >= 0 else -(-lacking // 2)
        flat = [0, 0] * (x.ndim - 1 - axis % x.ndim) + [before, lacking - before]
        x = functional.pad(x, flat)
    return x


def trilu(call: Call) -> Tensor:
    """Trilu: the upper or lower triangle."""
    k = int(call.scalar(1, default=0))
    return torch.triu(call[0], k) if call.attr("upper", 1) else torch.tril(call[0], k)


def compress(call: Call) -> Tensor:
    """Compress: the slices for which a condition holds."""
    axis = call.attr("axis")
    x = call[0].reshape(-1) if axis is None else call[0]
    index = torch.nonzero(call[1])[:, 0].to(x.device)
    return x.index_select(axis or 0, index)


def reverse_sequence(call: Call) -> Tensor:
    """ReverseSequence: the first steps of each sequence turned round."""
    x, lengths = call[0], call[1].long().to(call[0].device)
    time_axis, batch_axis = call.attr("time_axis", 0), call.attr("batch_axis", 1)
    time = along(torch.arange(x.shape[time_axis], device=x.device), x.ndim, time_axis)
    length = along(lengths, x.ndim, batch_axis)
    place = torch.where(time < length, length - 1 - time, time)
    return x.gather(time_axis, place.expand_as(x))


def col2im(call: Call) -> Tensor:
    """Col2Im: patches added up to an image, of two dimensions."""
    sizes, block = call.ints(1) or [], call.ints(2) or []
    rank = len(sizes)
    if rank != 2:
        raise call.refuse(f"makes images of {rank} dimensions; torch knows 2")
    pads = call.attr("pads") or [0] * (2 * rank)
    room = [n + pads[k] + pads[k + rank] for k, n in enumerate(sizes)]
    whole = functional.fold(
        call[0],
        tuple(room),
        tuple(block),
        dilation=tuple(call.attr("dilations") or [1] * rank),
        stride=tuple(call.attr("strides") or [1] * rank),
    )
    return whole[..., pads[0] : pads[0] + sizes[0], pads[1] : pads[1] + sizes[1]]


OPERATORS: Family = {
    "Concat": concat,
    "Split": split,
    "Slice": slice_,
    "Pad": pad,
    "CenterCropPad": center_crop_pad,
    "Trilu": trilu,
    "Compress": compress,
    "ReverseSequence": reverse_sequence,
    "Col2Im": col2im,
}
