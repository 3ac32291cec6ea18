"""Operators that pick elements by number, or put them there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnxslim_snacs.torch_graph.call import Call, together
from onnxslim_snacs.torch_graph.families import Family
from onnxslim_snacs.torch_graph.late import torch

if TYPE_CHECKING:
    from torch import Tensor


def gather(call: Call) -> Tensor:
    """Gather: the index's dimensions stand in the place of the axis."""
    x, index = together(call[0], call[1].long())
    axis = call.attr("axis", 0) % x.ndim
    index = torch.where(index < 0, index + x.shape[axis], index)
    picked = x.index_select(axis, index.reshape(-1))
    return picked.reshape((*x.shape[:axis], *index.shape, *x.shape[axis + 1 :]))


def gather_elements(call: Call) -> Tensor:
    """GatherElements."""
    x, index, axis = _elements(call)
    return x.gather(axis, index)


def scatter_elements(call: Call) -> Tensor:
    """ScatterElements (and Scatter): one element for each index."""
    x, index, axis = _elements(call)
    updates = call[2].to(x.device)
    how = call.attr("reduction", "none")
    if how == "none":
        return x.scatter(axis, index, updates)
    return x.scatter_reduce(axis, index, updates, reduce=_REDUCE[how])


def _elements(call: Call) -> tuple[Tensor, Tensor, int]:
    x, index = together(call[0], call[1].long())
    axis = call.attr("axis", 0)
    return x, torch.where(index < 0, index + x.shape[axis], index), axis


def gather_nd(call: Call) -> Tensor:
    """GatherND: index (batch ..., number ..., depth) into (batch ..., dimensions ...)."""
    x, index = together(call[0], call[1].long())
    batch = call.attr("batch_dims", 0)
    return x[_places(x, index, batch)]


def scatter_nd(call: Call) -> Tensor:
    """ScatterND: slices of updates at index (number ..., depth)."""
    x, index, updates = together(call[0], call[1].long(), call[2])
    how = call.attr("reduction", "none")
    places = _places(x, index, 0)
    if how == "none":
        return x.index_put(places, updates)
    if how == "add":
        return x.index_put(places, updates, accumulate=True)
    numbers = torch.arange(x.numel(), device=x.device).reshape(x.shape)[places]
    flat = x.reshape(-1).scatter_reduce(
        0, numbers.reshape(-1), updates.reshape(-1), reduce=_REDUCE[how]
    )
    return flat.reshape(x.shape)


_REDUCE = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}


def _places(x: Tensor, index: Tensor, batch: int) -> tuple[Tensor, ...]:
    """An index for each dimension that the last axis of `index` counts, batches in front."""
    rank = index.ndim - 1
    fixed = [
        torch.arange(x.shape[k], device=x.device).reshape([-1] + [1] * (rank - 1 - k))
        for k in range(batch)
    ]
    return (*fixed, *index.unbind(-1))


def one_hot(call: Call) -> Tensor:
    """OneHot."""
    depth, axis = int(call[1].reshape(-1)[0].item()), call.attr("axis", -1)
    off, on = call[2]
    index, off, on = together(call[0].long(), off, on)
    index = torch.where(index < 0, index + depth, index)
    axis = axis % (index.ndim + 1)
    numbers = torch.arange(depth, device=index.device)
    numbers = numbers.reshape([-1] + [1] * (index.ndim - axis))
    return torch.where(index.unsqueeze(axis) == numbers, on, off)


OPERATORS: Family = {
    "Gather": gather,
    "GatherElements": gather_elements,
    "GatherND": gather_nd,
    "ScatterElements": scatter_elements,
    "Scatter": scatter_elements,
    "ScatterND": scatter_nd,
    "OneHot": one_hot,
}
