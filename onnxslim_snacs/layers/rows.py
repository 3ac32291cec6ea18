"""Samples of a layer's regression: what it reads for one output position, and what it should write.

A row of a convolution is the patch under one output position, taps first, channels last; a row of a
matrix product is one vector.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, helper

from onnxslim_snacs.ir.types import BoolArray, IntArray
from onnxslim_snacs.layers.layers import Layer

Ints = tuple[int, ...]
#: Where fewer than one position in so many is chosen, what lies there is picked one by one; else
#: channels are brought to the end first, which reads and writes the whole tensor.
SPARSE = 2


@dataclass(frozen=True, slots=True)
class Window:
    """How a convolution walks over its input; one entry for each spatial axis.

    Attributes:
        kernel: taps.
        strides: steps between output positions; of ConvTranspose, between input positions.
        dilations: steps between taps.
        begin: zeros before the input; negative where the input is cut.
        end: zeros after it.
        transposed: the zeros lie between the input positions, and the steps are 1.
    """

    kernel: Ints
    strides: Ints
    dilations: Ints
    begin: Ints
    end: Ints
    transposed: bool = False


def read_window(
    node: NodeProto, kernel: Ints, size: Ints, out: Ints, *, transposed: bool
) -> Window:
    """The window of a Conv or ConvTranspose node.

    Args:
        node: the node.
        kernel: its taps.
        size: extents of the input's spatial axes.
        out: extents of the output's spatial axes, which settle every form of padding.
        transposed: whether the convolution is a transposed one.
    """
    return _window(node.SerializeToString(), kernel, tuple(size), tuple(out), transposed)


@lru_cache(maxsize=1024)
def _window(layer: bytes, kernel: Ints, size: Ints, out: Ints, transposed: bool) -> Window:
    """As `read_window`, which is asked the same for every batch."""
    node = NodeProto.FromString(layer)
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    rank = len(kernel)
    strides: Ints = tuple(attributes.get("strides", (1,) * rank))
    dilations: Ints = tuple(attributes.get("dilations", (1,) * rank))
    reach = [d * (k - 1) for k, d in zip(kernel, dilations, strict=True)]
    auto = attributes.get("auto_pad", b"NOTSET")
    auto = auto.decode() if isinstance(auto, bytes) else str(auto)
    if transposed:
        more = attributes.get("output_padding", (0,) * rank)
        full = [(s - 1) * t + r + 1 for s, t, r in zip(size, strides, reach, strict=True)]
        full = [f + m for f, m in zip(full, more, strict=True)]
        missing = [f - o for f, o in zip(full, out, strict=True)]
    else:
        full = [(o - 1) * t + r + 1 for o, t, r in zip(out, strides, reach, strict=True)]
        missing = [max(0, f - s) for f, s in zip(full, size, strict=True)]
    if "pads" in attributes and auto in ("NOTSET", ""):
        begin: Ints = tuple(attributes["pads"][:rank])
    elif auto in ("SAME_UPPER", "SAME_LOWER") or (transposed and "output_shape" in attributes):
        more_first = auto != "SAME_UPPER"
        begin = tuple(m - m // 2 if more_first else m // 2 for m in missing)
    else:
        begin = (0,) * rank
    if transposed:  # output position o reads the spread input at o + pad - dilation x tap
        begin = tuple(r - b for r, b in zip(reach, begin, strict=True))
        spread = [(s - 1) * t + 1 for s, t in zip(size, strides, strict=True)]
        need = [o + r for o, r in zip(out, reach, strict=True)]
        end = tuple(n - b - s for n, b, s in zip(need, begin, spread, strict=True))
        return Window(kernel, strides, dilations, begin, end, True)
    end = tuple(max(0, f - s - b) for f, s, b in zip(full, size, begin, strict=True))
    return Window(kernel, strides, dilations, begin, end)


def patches(x: NDArray[Any], window: Window, out: Ints, chosen: IntArray) -> NDArray[np.float32]:
    """Patches under some output positions.

    Args:
        x: (n, c, spatial...) input.
        window: how the convolution walks.
        out: (spatial...) extents of the output.
        chosen: (rows,) output positions, numbered row-major over (n, spatial...).

    Returns:
        (rows, taps, c), the taps row-major over the kernel.
    """
    few = SPARSE * len(chosen) * prod(window.kernel) < len(x) * prod(x.shape[2:])
    if few and not window.transposed:
        return _few_patches(x, window, out, chosen)
    last = np.moveaxis(x, 1, -1)
    strides = window.strides
    if window.transposed:
        last, strides = _spread(last, strides), (1,) * len(strides)
    padded = _padded(last, window)
    sides, channels = padded.shape[1:-1], padded.shape[-1]
    steps = [prod(sides[k + 1 :]) for k in range(len(sides))]
    places = np.unravel_index(chosen, (len(x), *out))
    start = places[0] * prod(sides)
    for place, stride, step in zip(places[1:], strides, steps, strict=True):
        start = start + place * (stride * step)
    taps = np.zeros(1, dtype=np.int64)
    for count, dilation, step in zip(window.kernel, window.dilations, steps, strict=True):
        taps = (taps[:, None] + np.arange(count) * (dilation * step)).reshape(-1)
    rows: NDArray[np.float32] = padded.reshape(-1, channels)[start[:, None] + taps]
    return rows


def _few_patches(
    x: NDArray[Any], window: Window, out: Ints, chosen: IntArray
) -> NDArray[np.float32]:
    """As `patches`, number by number, without a copy of the input."""
    sample, flat, inside = places_of(x.shape, window, out, chosen)
    whole = x.reshape(len(x), x.shape[1], -1)
    rows: NDArray[np.float32] = whole[sample[:, None], :, flat].astype(np.float32, copy=False)
    rows[~inside] = 0.0
    return rows


def places_of(
    shape: Ints, window: Window, out: Ints, chosen: IntArray
) -> tuple[IntArray, IntArray, BoolArray]:
    """Where the patches of a convolution lie that is not transposed.

    Args:
        shape: (n, c, spatial...) of the input.
        window: how the convolution walks.
        out: (spatial...) extents of the output.
        chosen: (rows,) output positions, numbered row-major over (n, spatial...).

    Returns:
        (rows,) the sample of each; (rows, taps) places, numbered row-major over the spatial axes,
        and whether they lie inside the input.
    """
    sample, *places = np.unravel_index(chosen, (shape[0], *out))
    flat = np.zeros((len(chosen), 1), dtype=np.int64)
    inside = np.ones((len(chosen), 1), dtype=bool)
    walks = zip(window.kernel, window.strides, window.dilations, window.begin, strict=True)
    for place, size, (count, stride, dilation, begin) in zip(places, shape[2:], walks, strict=True):
        at = (place * stride - begin)[:, None] + np.arange(count) * dilation
        fits = (at >= 0) & (at < size)
        flat = (flat[:, :, None] * size + np.where(fits, at, 0)[:, None]).reshape(len(chosen), -1)
        inside = (inside[:, :, None] & fits[:, None]).reshape(len(chosen), -1)
    return sample, flat, inside


def _padded(last: NDArray[Any], window: Window) -> NDArray[np.float32]:
    """(n, spatial..., c) with zeros around; negative amounts cut."""
    rank = len(window.kernel)
    inner = tuple(
        slice(max(0, -b), last.shape[1 + k] - max(0, -e))
        for k, (b, e) in enumerate(zip(window.begin, window.end, strict=True))
    )
    last = last[(slice(None), *inner)]
    amounts = [(max(0, b), max(0, e)) for b, e in zip(window.begin, window.end, strict=True)]
    shape = [
        last.shape[0],
        *(s + a + b for s, (a, b) in zip(last.shape[1:-1], amounts, strict=True)),
        last.shape[-1],
    ]
    padded = np.zeros(shape, dtype=np.float32)
    centre = tuple(slice(a, a + last.shape[1 + k]) for k, (a, _) in enumerate(amounts))
    padded[(slice(None), *centre[:rank])] = last
    return padded


def _spread(last: NDArray[Any], strides: Ints) -> NDArray[Any]:
    """(n, spatial..., c) with stride - 1 zeros between neighbours."""
    sides = [(s - 1) * t + 1 for s, t in zip(last.shape[1:-1], strides, strict=True)]
    wide = np.zeros((len(last), *sides, last.shape[-1]), dtype=last.dtype)
    wide[(slice(None), *(slice(None, None, t) for t in strides))] = last
    return wide


def layer_rows(
    layer: Layer, node: NodeProto, x: NDArray[Any], out: Ints, chosen: IntArray
) -> NDArray[np.float32]:
    """What a layer reads for some output positions.

    Args:
        layer: the layer.
        node: its node.
        x: its input.
        out: shape of its output.
        chosen: output positions, numbered row-major over the output without its channel axis.

    Returns:
        (groups, rows, features).
    """
    if layer.is_matrix:
        return _picked(x, layer.data_dim, chosen).astype(np.float32, copy=False)[None]
    window = read_window(node, layer.kernel, x.shape[2:], out[2:], transposed=layer.transposed)
    rows = patches(x, window, out[2:], chosen)
    count, taps, channels = rows.shape
    if layer.groups == 1:
        return rows.reshape(1, count, taps * channels)
    each = channels // layer.groups
    blocks = rows.reshape(count, taps, layer.groups, each).transpose(2, 0, 1, 3)
    return np.ascontiguousarray(blocks).reshape(layer.groups, count, taps * each)


def target_rows(
    value: NDArray[Any], dim: int, groups: int, chosen: IntArray, kept: IntArray | None = None
) -> NDArray[np.float32]:
    """(groups, rows, outputs of the group) of an output at some positions.

    Args:
        value: the output.
        dim: its channel dimension.
        groups: of the layer.
        chosen: positions, numbered row-major over the output without its channel axis.
        kept: the outputs that are wanted; None for all.
    """
    rows = _picked(value, dim, chosen).astype(np.float32, copy=False)
    rows = rows if kept is None else rows[:, kept]
    count, outputs = rows.shape
    return np.ascontiguousarray(rows.reshape(count, groups, outputs // groups).transpose(1, 0, 2))


def _picked(value: NDArray[Any], dim: int, chosen: IntArray) -> NDArray[Any]:
    """(rows, channels) of a tensor at positions that are numbered row-major over its other axes."""
    channels, inner = value.shape[dim], prod(value.shape[dim + 1 :])
    if value.size == 0:  # rows that a value decides on may be none
        return value.reshape(0, channels)
    few = SPARSE * len(chosen) * channels < value.size
    if few and inner > 1 and value.flags.c_contiguous:
        picked: NDArray[Any] = value.reshape(-1, channels, inner)[
            chosen // inner, :, chosen % inner
        ]
        return picked
    return np.moveaxis(value, dim, -1).reshape(-1, channels)[chosen]


def some_of(positions: int, most: int, rng: np.random.Generator) -> IntArray:
    """Some of so many positions, ascending; all of them if they are no more than `most`."""
    if positions <= most:
        return np.arange(positions)
    return np.sort(rng.choice(positions, most, replace=False, shuffle=False))
