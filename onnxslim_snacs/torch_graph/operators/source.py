"""Operators that make tensors: shapes, constants, ranges, random numbers, places.

Whole numbers stay in main memory, where shapes are needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from onnx import TensorProto

from onnxslim_snacs.torch_graph.call import Call
from onnxslim_snacs.torch_graph.families import Family
from onnxslim_snacs.torch_graph.late import torch

if TYPE_CHECKING:
    from torch import Tensor


def shape(call: Call) -> Tensor:
    """Shape, or a part of it."""
    dims = list(call[0].shape)
    return torch.tensor(dims[slice(call.attr("start", 0), call.attr("end"))], dtype=torch.int64)


def size(call: Call) -> Tensor:
    """Size."""
    return torch.tensor(call[0].numel(), dtype=torch.int64)


def constant_of_shape(call: Call) -> Tensor:
    """ConstantOfShape, zeros if nothing else is said."""
    value = call.attr("value")
    dims = call.ints(0) or []
    if value is None:
        return _placed(call, torch.zeros(dims, dtype=call.floating))
    made = torch.full(dims, value.reshape(-1)[0].item(), dtype=value.dtype)
    return _placed(call, made)


def _placed(call: Call, made: Tensor) -> Tensor:
    return made.to(call.device) if made.is_floating_point() else made


def range_(call: Call) -> Tensor:
    """Range."""
    start, limit, step = (v.item() for v in call.inputs)
    made = torch.arange(start, limit, step, dtype=call[0].dtype)
    return made.to(call[0].device)


def eye_like(call: Call) -> Tensor:
    """EyeLike, ones on a diagonal."""
    x = call[0]
    kind = call.attr("dtype")
    made = torch.zeros(x.shape, dtype=x.dtype if kind is None else call.dtype(kind))
    offset = call.attr("k", 0)
    rows = torch.arange(x.shape[0])
    inside = (rows + offset >= 0) & (rows + offset < x.shape[1])
    made[rows[inside], rows[inside] + offset] = 1
    return made.to(x.device)


def non_zero(call: Call) -> Tensor:
    """NonZero: (dimensions, number)."""
    return torch.nonzero(call[0]).T


def unique(call: Call) -> Any:
    """Unique: values, first places, places among the unique ones, counts."""
    axis, x = call.attr("axis"), call[0]
    values, inverse, counts = torch.unique(
        x, sorted=True, return_inverse=True, return_counts=True, dim=axis
    )
    flat = inverse.reshape(-1)
    first = torch.full((len(counts),), len(flat), dtype=torch.int64, device=x.device)
    first = first.scatter_reduce(0, flat, torch.arange(len(flat), device=x.device), reduce="amin")
    if not call.attr("sorted", 1):
        order = first.argsort()
        rank = torch.empty_like(order)
        rank[order] = torch.arange(len(order), device=x.device)
        values = values.index_select(axis or 0, order)
        first, counts, flat = first[order], counts[order], rank[flat]
    return values, first, flat, counts


def _generator(call: Call) -> torch.Generator:
    """Seeded by the node if it says so, else by its name: the same numbers in every run."""
    seed = call.attr("seed")
    given = sum(call.name.encode()) if seed is None else int(seed)
    return torch.Generator().manual_seed(given)


def _kind(call: Call, default: torch.dtype) -> torch.dtype:
    return default if call.attr("dtype") is None else call.dtype(call.attr("dtype"))


def random_normal(call: Call) -> Tensor:
    """RandomNormal and RandomNormalLike."""
    made = _drawn(call, uniform=False)
    return made.mul(call.attr("scale", 1.0)).add(call.attr("mean", 0.0))


def random_uniform(call: Call) -> Tensor:
    """RandomUniform and RandomUniformLike."""
    low, high = call.attr("low", 0.0), call.attr("high", 1.0)
    return _drawn(call, uniform=True).mul(high - low).add(low)


def _drawn(call: Call, *, uniform: bool) -> Tensor:
    given = call.attr("shape")
    dims = list(call[0].shape) if given is None else given
    draw = torch.rand if uniform else torch.randn
    kind = _kind(call, call.floating)
    made: Tensor = draw(dims, generator=_generator(call), dtype=kind)
    return made.to(call.device)


def bernoulli(call: Call) -> Tensor:
    """Bernoulli: ones with the probabilities given."""
    x = call[0]
    drawn = torch.rand(x.shape, generator=_generator(call), dtype=x.dtype).to(x.device)
    return (drawn < x).to(_kind(call, x.dtype))


def multinomial(call: Call) -> Tensor:
    """Multinomial: classes drawn from unnormalised log probabilities."""
    shares = call[0].softmax(-1).cpu()
    number = call.attr("sample_size", 1)
    drawn = torch.multinomial(shares, number, replacement=True, generator=_generator(call))
    return drawn.to(call.dtype(call.attr("dtype", TensorProto.INT32)))


def non_max_suppression(call: Call) -> Tensor:
    """NonMaxSuppression: (number, 3) batch, class and box of what is left."""
    boxes, scores = call[0].detach().cpu(), call[1].detach().cpu()
    most = int(call.scalar(2, default=0))
    overlap, least = float(call.scalar(3, default=0.0)), call.scalar(4)
    if call.attr("center_point_box", 0):
        middle, half = boxes[..., :2], boxes[..., 2:] / 2
        boxes = torch.cat([middle - half, middle + half], -1)
    low = torch.minimum(boxes[..., :2], boxes[..., 2:])
    high = torch.maximum(boxes[..., :2], boxes[..., 2:])
    found = [
        (batch, kind, box)
        for batch in range(scores.shape[0])
        for kind in range(scores.shape[1])
        for box in _left(low[batch], high[batch], scores[batch, kind], most, overlap, least)
    ]
    return torch.tensor(found, dtype=torch.int64).reshape(-1, 3)


def _left(
    low: Tensor, high: Tensor, scores: Tensor, most: int, overlap: float, least: float | None
) -> list[int]:
    """Boxes, the best first, that overlap none of those before them."""
    order = torch.argsort(scores, descending=True, stable=True)
    if least is not None:
        order = order[scores[order] > least]
    kept: list[int] = []
    area = (high - low).prod(-1)
    while len(order) and len(kept) < most:
        best, rest = order[0], order[1:]
        kept.append(int(best))
        sides = torch.minimum(high[rest], high[best]) - torch.maximum(low[rest], low[best])
        common = sides.clamp(min=0).prod(-1)
        order = rest[common <= overlap * (area[rest] + area[best] - common)]
    return kept


OPERATORS: Family = {
    "Shape": shape,
    "Size": size,
    "ConstantOfShape": constant_of_shape,
    "Range": range_,
    "EyeLike": eye_like,
    "NonZero": non_zero,
    "Unique": unique,
    "RandomNormal": random_normal,
    "RandomNormalLike": random_normal,
    "RandomUniform": random_uniform,
    "RandomUniformLike": random_uniform,
    "Bernoulli": bernoulli,
    "Multinomial": multinomial,
    "NonMaxSuppression": non_max_suppression,
}
