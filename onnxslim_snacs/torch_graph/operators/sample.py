"""Pixels at places that the network computes: GridSample, RoiAlign, MaxRoiPool."""

from __future__ import annotations

from math import ceil, floor
from typing import TYPE_CHECKING

from onnxslim_snacs.torch_graph.call import Call, together
from onnxslim_snacs.torch_graph.families import Family
from onnxslim_snacs.torch_graph.late import functional, torch

if TYPE_CHECKING:
    from torch import Tensor

_MODES = {"linear": "bilinear", "cubic": "bicubic"}


def grid_sample(call: Call) -> Tensor:
    """GridSample, (batch, channels, pixels ...) at (batch, new pixels ..., coordinates)."""
    mode = call.attr("mode", "linear")
    x, grid = together(call[0], call[1])
    return functional.grid_sample(
        x,
        grid.to(x.dtype),
        mode=_MODES.get(mode, mode),
        padding_mode=call.attr("padding_mode", "zeros"),
        align_corners=bool(call.attr("align_corners", 0)),
    )


def roi_align(call: Call) -> Tensor:
    """RoiAlign: regions (number, 4) of images, sampled at points and pooled to one grid."""
    x, rois, images = together(call[0], call[1], call[2])
    high, wide = call.attr("output_height", 1), call.attr("output_width", 1)
    scale = call.attr("spatial_scale", 1.0)
    half = call.opset >= 16 and call.attr("coordinate_transformation_mode", "half_pixel") == (
        "half_pixel"
    )
    parts = [
        _region(call, x[int(i)], [v * scale - 0.5 * half for v in box], high, wide, half)
        for box, i in zip(rois.tolist(), images.tolist(), strict=True)
    ]
    return torch.stack(parts) if parts else x.new_zeros((0, x.shape[1], high, wide))


def _region(
    call: Call, image: Tensor, box: list[float], high: int, wide: int, half: bool
) -> Tensor:
    """(channels, high, wide) of one region (x1, y1, x2, y2) of an image."""
    x1, y1, x2, y2 = box
    height, width = y2 - y1, x2 - x1
    if not half:
        height, width = max(height, 1.0), max(width, 1.0)
    ratio = call.attr("sampling_ratio", 0)
    down = ratio or max(1, ceil(height / high))
    right = ratio or max(1, ceil(width / wide))
    rows = _points(y1, height / high, high, down, image)
    columns = _points(x1, width / wide, wide, right, image)
    taken = _bilinear(image, rows, columns, most=call.attr("mode", "avg") == "max")
    if call.attr("mode", "avg") == "max":
        return taken.reshape(len(image), high, down, wide, right, 4).amax((2, 4, 5))
    return taken.reshape(len(image), high, down, wide, right).mean((2, 4))


def _points(start: float, step: float, bins: int, each: int, like: Tensor) -> Tensor:
    number = torch.arange(bins * each, dtype=like.dtype, device=like.device)
    inside = (number % each + 0.5) / each
    return start + step * (torch.div(number, each, rounding_mode="floor") + inside)


def _bilinear(image: Tensor, rows: Tensor, columns: Tensor, *, most: bool) -> Tensor:
    """(channels, rows, columns), of `most` with the four weighted corners behind."""
    corners = []
    row, column = _corners(rows, image.shape[1]), _corners(columns, image.shape[2])
    for r, wr in row:
        for c, wc in column:
            corners.append(image[:, r][:, :, c] * (wr[:, None] * wc[None]))
    stacked = torch.stack(corners, -1)
    return stacked if most else stacked.sum(-1)


def _corners(at: Tensor, size: int) -> list[tuple[Tensor, Tensor]]:
    """The pixel below and the one above, with their weights; zero outside of the image."""
    inside = ((at >= -1.0) & (at <= size)).to(at.dtype)
    at = at.clamp(min=0.0)
    low = at.floor().long().clamp(max=size - 1)
    high = (low + 1).clamp(max=size - 1)
    share = torch.where(low >= size - 1, torch.zeros_like(at), at - low)
    return [(low, (1 - share) * inside), (high, share * inside)]


def max_roi_pool(call: Call) -> Tensor:
    """MaxRoiPool: the maximum of each cell of regions (image, x1, y1, x2, y2)."""
    x, scale = call[0], call.attr("spatial_scale", 1.0)
    high, wide = call.attr("pooled_shape")
    parts = []
    for image, *box in call[1].tolist():
        x1, y1, x2, y2 = (floor(v * scale + 0.5) for v in box)
        rows = _cells(y1, max(y2 - y1 + 1, 1), high, x.shape[2])
        columns = _cells(x1, max(x2 - x1 + 1, 1), wide, x.shape[3])
        cells = [_most(x[int(image)][:, r0:r1, c0:c1]) for r0, r1 in rows for c0, c1 in columns]
        parts.append(torch.stack(cells, -1).reshape(-1, high, wide))
    return torch.stack(parts)


def _cells(start: int, length: int, bins: int, size: int) -> list[tuple[int, int]]:
    step = length / bins
    edges = [(start + floor(k * step), start + ceil((k + 1) * step)) for k in range(bins)]
    return [(min(max(a, 0), size), min(max(b, 0), size)) for a, b in edges]


def _most(cell: Tensor) -> Tensor:
    flat = cell.reshape(len(cell), -1)
    return flat.amax(1) if flat.shape[1] else flat.new_zeros(len(cell))


OPERATORS: Family = {
    "GridSample": grid_sample,
    "RoiAlign": roi_align,
    "MaxRoiPool": max_roi_pool,
}
