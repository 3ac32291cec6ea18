"""Resize and Upsample: one dimension after the other, each a matrix from old pixels to new ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from onnxslim_snacs.torch_graph.call import Call, along
from onnxslim_snacs.torch_graph.families import Family
from onnxslim_snacs.torch_graph.late import torch

if TYPE_CHECKING:
    from torch import Tensor

_Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Resampling:
    """How a dimension is resized.

    Attributes:
        mode: nearest, linear or cubic.
        place: the coordinate transformation.
        round: how nearest rounds.
        cubic: the coefficient of cubic interpolation.
        exclude: whether taps outside count as nothing.
        antialias: whether taps widen where it gets smaller.
    """

    mode: str
    place: str
    round: str = "round_prefer_floor"
    cubic: float = -0.75
    exclude: bool = False
    antialias: bool = False


def resize(call: Call) -> Tensor:
    """Resize, in all modes."""
    x = call[0]
    if call.opset < 11:
        return upsample(call)
    axes = [a % x.ndim for a in call.attr("axes") or range(x.ndim)]
    old = [x.shape[a] for a in axes]
    new, scales = _sizes(call, old)
    way = _Resampling(
        call.attr("mode", "nearest"),
        call.attr("coordinate_transformation_mode", "half_pixel"),
        call.attr("nearest_mode", "round_prefer_floor"),
        call.attr("cubic_coeff_a", -0.75),
        bool(call.attr("exclude_outside", 0)),
        bool(call.attr("antialias", 0)),
    )
    region = call.get(1) if way.place == "tf_crop_and_resize" else None
    bounds = None if region is None else [float(v) for v in region.tolist()]
    outside: Tensor | None = None
    for k, axis in enumerate(axes):
        if new[k] == old[k] and scales[k] == 1.0 and bounds is None:
            continue
        crop = None if bounds is None else (bounds[k], bounds[k + len(axes)])
        at = _coordinates(way.place, old[k], new[k], scales[k], crop)
        x = _apply(x, axis, _matrix(way, at, old[k], scales[k]))
        if crop is not None:
            off = torch.tensor((at < 0) | (at > old[k] - 1), device=x.device)
            here = along(off, x.ndim, axis)
            outside = here if outside is None else outside | here
    if outside is None:
        return x
    fill = torch.tensor(call.attr("extrapolation_value", 0.0), dtype=x.dtype, device=x.device)
    return torch.where(outside, fill, x)


def upsample(call: Call) -> Tensor:
    """Upsample (and Resize of opset 10): no pixel centres, nearest takes the lower one."""
    x = call[0]
    given = call.attr("scales") if call.get(1) is None else call[1].tolist()
    way = _Resampling(call.attr("mode", "nearest"), "asymmetric", "floor")
    for axis, scale in enumerate(given):
        old = x.shape[axis]
        new = int(np.floor(old * np.float32(scale)))
        if new != old:
            at = _coordinates(way.place, old, new, float(scale), None)
            x = _apply(x, axis, _matrix(way, at, old, float(scale)))
    return x


def _sizes(call: Call, old: list[int]) -> tuple[list[int], list[float]]:
    """New sizes and scales, from whichever of the two is given."""
    wanted = call.ints(3)
    if not wanted:
        scales = [float(s) for s in call[2].tolist()]
        return [int(np.floor(n * np.float32(s))) for n, s in zip(old, scales, strict=True)], scales
    policy = call.attr("keep_aspect_ratio_policy", "stretch")
    scales = [w / n for w, n in zip(wanted, old, strict=True)]
    if policy == "stretch":
        return wanted, scales
    same = min(scales) if policy == "not_larger" else max(scales)
    return [int(np.floor(same * n + 0.5)) for n in old], [same] * len(old)


def _coordinates(
    place: str, old: int, new: int, scale: float, crop: tuple[float, float] | None
) -> _Array:
    """(new,) where each new pixel lies among the old ones."""
    # ONNX Runtime computes them in single precision, which decides what is nearest
    x, s = np.arange(new, dtype=np.float32), np.float32(scale)
    half = np.float32(0.5)
    if place == "asymmetric":
        at = x / s
    elif place == "align_corners":
        at = x * np.float32(old - 1) / np.float32(new - 1) if new > 1 else x * 0
    elif place == "pytorch_half_pixel" and new == 1:
        at = x * 0
    elif place == "tf_half_pixel_for_nn":
        at = (x + half) / s
    elif place == "half_pixel_symmetric":
        whole = np.float32(old) * s
        shift = np.float32(old) / 2 * (1 - np.float32(new) / whole)
        at = shift + (x + half) / s - half
    elif place == "tf_crop_and_resize" and crop is not None:
        start, stop = (np.float32(c) for c in crop)
        step = (stop - start) * (old - 1) / (new - 1) if new > 1 else np.float32(0)
        first = start * (old - 1) if new > 1 else (start + stop) * (old - 1) / 2
        at = first + x * step
    else:
        at = (x + half) / s - half
    return np.asarray(at, dtype=np.float64)


def _matrix(way: _Resampling, at: _Array, old: int, scale: float) -> _Array:
    """(new, old) how much each old pixel counts for each new one."""
    matrix = np.zeros((len(at), old))
    rows = np.arange(len(at))
    if way.mode == "nearest":
        matrix[rows, np.clip(_nearest(way.round, at), 0, old - 1)] = 1.0
        return matrix
    width = 1.0 / scale if way.antialias and scale < 1.0 else 1.0
    reach = int(np.ceil((2 if way.mode == "cubic" else 1) * width))
    base = np.floor(at).astype(np.int64)
    taps = base[:, None] + np.arange(1 - reach, reach + 1)
    distance = (taps - at[:, None]) / width
    weights = _cubic(distance, way.cubic) if way.mode == "cubic" else _linear(distance)
    outside = (taps < 0) | (taps >= old)
    if way.exclude:
        weights = np.where(outside, 0.0, weights)
    if way.exclude or way.antialias:
        weights = weights / weights.sum(1, keepdims=True)
    np.add.at(matrix, (rows[:, None], np.clip(taps, 0, old - 1)), weights)
    return matrix


def _nearest(mode: str, at: _Array) -> NDArray[np.int64]:
    rounded = {
        "round_prefer_floor": np.ceil(at - 0.5),
        "round_prefer_ceil": np.floor(at + 0.5),
        "floor": np.floor(at),
        "ceil": np.ceil(at),
    }[mode]
    return rounded.astype(np.int64)


def _linear(distance: _Array) -> _Array:
    weights: _Array = np.maximum(0.0, 1.0 - np.abs(distance))
    return weights


def _cubic(distance: _Array, a: float) -> _Array:
    """Keys' cubic convolution."""
    d = np.abs(distance)
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    weights: _Array = np.where(d <= 1, near, np.where(d < 2, far, 0.0))
    return weights


def _apply(x: Tensor, axis: int, matrix: _Array) -> Tensor:
    """Replace an axis by what a matrix makes of it."""
    one_each = (matrix != 0).sum(1) == 1
    if one_each.all() and (matrix.sum(1) == 1).all():
        return x.index_select(axis, torch.tensor(matrix.argmax(1), device=x.device))
    kind: Any = x.dtype if x.is_floating_point() else torch.float32
    weight = torch.tensor(matrix, dtype=kind, device=x.device)
    made = (x.to(kind).movedim(axis, -1) @ weight.T).movedim(-1, axis)
    return made if x.is_floating_point() else made.to(x.dtype)


OPERATORS: Family = {"Resize": resize, "Upsample": upsample}
