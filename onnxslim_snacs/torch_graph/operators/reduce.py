"""Operators that look along an axis: sums, extremes, softmax, running sums, the largest."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from onnxslim_snacs.torch_graph.call import Call
from onnxslim_snacs.torch_graph.families import Family, Operator
from onnxslim_snacs.torch_graph.late import torch

if TYPE_CHECKING:
    from torch import Tensor

_Reduction = Callable[["Tensor", list[int]], "Tensor"]


def _reduce(reduction: _Reduction) -> Operator:
    """An operator that reduces over the axes of its second input or of its attribute."""

    def run(call: Call) -> Tensor:
        x, axes = call[0], call.ints(1, "axes")
        if not axes:
            if call.attr("noop_with_empty_axes", 0):
                return reduction(x.unsqueeze(-1), [x.ndim]).reshape(x.shape)
            axes = list(range(x.ndim))
        axes = [a % x.ndim for a in axes] if x.ndim else []
        if not axes:
            return reduction(x.reshape(1), [0]).reshape(())
        made = reduction(x, axes)
        if call.attr("keepdims", 1) != 1:
            return made
        for axis in sorted(axes):
            made = made.unsqueeze(axis)
        return made

    return run


def _sum(x: Tensor, axes: list[int]) -> Tensor:
    return x.sum(axes, dtype=x.dtype)


def _mean(x: Tensor, axes: list[int]) -> Tensor:
    return x.mean(axes) if x.is_floating_point() else x.double().mean(axes).to(x.dtype)


def _prod(x: Tensor, axes: list[int]) -> Tensor:
    for axis in sorted(axes, reverse=True):
        x = x.prod(axis, dtype=x.dtype)
    return x


def _norm(x: Tensor, axes: list[int]) -> Tensor:
    kind = torch.promote_types(x.dtype, torch.float32)
    length: Tensor = torch.linalg.vector_norm(x.to(kind), 2, axes)
    return length.to(x.dtype)


def _log_sum_exp(x: Tensor, axes: list[int]) -> Tensor:
    return torch.logsumexp(x, axes)


_REDUCTIONS: dict[str, _Reduction] = {
    "ReduceSum": _sum,
    "ReduceMean": _mean,
    "ReduceProd": _prod,
    "ReduceMax": lambda x, axes: x.amax(axes),
    "ReduceMin": lambda x, axes: x.amin(axes),
    "ReduceL1": lambda x, axes: _sum(x.abs(), axes),
    "ReduceL2": _norm,
    "ReduceSumSquare": lambda x, axes: _sum(x.square(), axes),
    "ReduceLogSum": lambda x, axes: _sum(x, axes).log(),
    "ReduceLogSumExp": _log_sum_exp,
}


def _softmax(make: Callable[[Tensor, int], Tensor]) -> Operator:
    """An operator along one axis; before opset 13 along all from the axis on, as one."""

    def run(call: Call) -> Tensor:
        x = call[0]
        if call.opset >= 13:
            return make(x, call.attr("axis", -1))
        axis = call.attr("axis", 1) % x.ndim
        return make(x.flatten(axis), axis).reshape(x.shape)

    return run


def _hardmax(x: Tensor, axis: int) -> Tensor:
    first = x.argmax(axis, keepdim=True)
    return torch.zeros_like(x).scatter(axis, first, 1.0)


def _arg(name: str) -> Operator:
    """ArgMax or ArgMin; of equal ones the first or the last."""

    def run(call: Call) -> Tensor:
        x, axis = call[0], call.attr("axis", 0)
        found: Tensor
        if call.attr("select_last_index", 0):
            found = x.shape[axis] - 1 - getattr(torch, name)(x.flip(axis), axis, keepdim=True)
        else:
            found = getattr(torch, name)(x, axis, keepdim=True)
        return found if call.attr("keepdims", 1) == 1 else found.squeeze(axis)

    return run


def top_k(call: Call) -> Any:
    """TopK: values and their places; of equal ones the first places."""
    x, axis = call[0], call.attr("axis", -1)
    number = call.ints(1, "k") or [0]
    order = torch.argsort(x, dim=axis, descending=bool(call.attr("largest", 1)), stable=True)
    places = order.narrow(axis, 0, number[0])
    return x.gather(axis, places), places


def cumulative_sum(call: Call) -> Tensor:
    """CumSum, from either end, with or without the element itself."""
    x, axis = call[0], int(call[1].item())
    x = x.flip(axis) if call.attr("reverse", 0) else x
    sums = x.cumsum(axis, dtype=x.dtype)
    if call.attr("exclusive", 0):
        sums = sums.roll(1, axis)
        first = torch.zeros_like(sums.narrow(axis, 0, 1))
        sums = torch.cat([first, sums.narrow(axis, 1, sums.shape[axis] - 1)], axis)
    return sums.flip(axis) if call.attr("reverse", 0) else sums


OPERATORS: Family = {
    **{op: _reduce(reduction) for op, reduction in _REDUCTIONS.items()},
    "Softmax": _softmax(lambda x, axis: x.softmax(axis)),
    "LogSoftmax": _softmax(lambda x, axis: x.log_softmax(axis)),
    "Hardmax": _softmax(_hardmax),
    "ArgMax": _arg("argmax"),
    "ArgMin": _arg("argmin"),
    "TopK": top_k,
    "CumSum": cumulative_sum,
}
