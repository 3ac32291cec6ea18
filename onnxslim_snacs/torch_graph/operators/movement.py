"""Operators that only move elements or repeat them."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from onnxslim_snacs.torch_graph.call import Call
from onnxslim_snacs.torch_graph.families import Family

if TYPE_CHECKING:
    from torch import Tensor


def reshape(call: Call) -> Tensor:
    """Reshape; 0 stands for the extent that was there, unless allowzero says otherwise."""
    x, shape = call[0], call.ints(1, "shape") or []
    if not call.attr("allowzero", 0):
        shape = [x.shape[k] if d == 0 else d for k, d in enumerate(shape)]
    return x.reshape(shape)


def flatten(call: Call) -> Tensor:
    """Flatten to two dimensions."""
    x, axis = call[0], call.attr("axis", 1)
    axis = axis + x.ndim if axis < 0 else axis
    return x.reshape(prod(x.shape[:axis]), prod(x.shape[axis:]))


def transpose(call: Call) -> Tensor:
    """Transpose; all axes turn round if none are named."""
    x = call[0]
    return x.permute(*(call.attr("perm") or reversed(range(x.ndim))))


def squeeze(call: Call) -> Tensor:
    """Squeeze."""
    x, axes = call[0], call.ints(1, "axes")
    return x.squeeze() if axes is None else x.squeeze(tuple(axes))


def unsqueeze(call: Call) -> Tensor:
    """Unsqueeze; axes count in the result."""
    x, axes = call[0], call.ints(1, "axes") or []
    rank = x.ndim + len(axes)
    for axis in sorted(a % rank for a in axes):
        x = x.unsqueeze(axis)
    return x


def expand(call: Call) -> Tensor:
    """Expand: broadcast against a shape."""
    x, shape = call[0], call.ints(1) or []
    rank = max(x.ndim, len(shape))
    had = [1] * (rank - x.ndim) + list(x.shape)
    wanted = [1] * (rank - len(shape)) + shape
    return x.expand([h if w == 1 else w for h, w in zip(had, wanted, strict=True)])


def tile(call: Call) -> Tensor:
    """Tile."""
    if call.opset < 6:  # how often along one axis
        repeats = [1] * call[0].ndim
        repeats[int(call[2].item())] = int(call[1].item())
        return call[0].repeat(repeats)
    return call[0].repeat(call.ints(1) or [])


def depth_to_space(call: Call) -> Tensor:
    """DepthToSpace: (n, c b b, h, w) -> (n, c, h b, w b)."""
    x, b = call[0], call.attr("blocksize")
    n, deep, h, w = x.shape
    c = deep // (b * b)
    if call.attr("mode", "DCR") == "CRD":
        return x.reshape(n, c, b, b, h, w).permute(0, 1, 4, 2, 5, 3).reshape(n, c, h * b, w * b)
    return x.reshape(n, b, b, c, h, w).permute(0, 3, 4, 1, 5, 2).reshape(n, c, h * b, w * b)


def space_to_depth(call: Call) -> Tensor:
    """SpaceToDepth: (n, c, h, w) -> (n, b b c, h / b, w / b)."""
    x, b = call[0], call.attr("blocksize")
    n, c, h, w = x.shape
    parts = x.reshape(n, c, h // b, b, w // b, b).permute(0, 3, 5, 1, 2, 4)
    return parts.reshape(n, b * b * c, h // b, w // b)


OPERATORS: Family = {
    "Reshape": reshape,
    "Flatten": flatten,
    "Transpose": transpose,
    "Squeeze": squeeze,
    "Unsqueeze": unsqueeze,
    "Expand": expand,
    "Tile": tile,
    "DepthToSpace": depth_to_space,
    "SpaceToDepth": space_to_depth,
}
