"""Sequences of tensors, held as lists."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnxslim_snacs.torch_graph.call import Call, Value
from onnxslim_snacs.torch_graph.families import Family
from onnxslim_snacs.torch_graph.late import torch

if TYPE_CHECKING:
    from torch import Tensor


def construct(call: Call) -> list[Value]:
    """SequenceConstruct."""
    return list(call.inputs)


def empty(call: Call) -> list[Value]:
    """SequenceEmpty."""
    return []


def at(call: Call) -> Value:
    """SequenceAt."""
    return call.inputs[0][int(call[1].item())]


def insert(call: Call) -> list[Value]:
    """SequenceInsert, at the end if no place is given."""
    values = list(call.inputs[0])
    place = call.scalar(2)
    values.insert(len(values) if place is None else int(place), call.inputs[1])
    return values


def erase(call: Call) -> list[Value]:
    """SequenceErase, the last if no place is given."""
    values = list(call.inputs[0])
    values.pop(int(call.scalar(1, default=-1)))
    return values


def length(call: Call) -> Tensor:
    """SequenceLength."""
    return torch.tensor(len(call.inputs[0]), dtype=torch.int64)


def join(call: Call) -> Tensor:
    """ConcatFromSequence, along an axis that may be new."""
    values, axis = list(call.inputs[0]), call.attr("axis")
    return torch.stack(values, axis) if call.attr("new_axis", 0) else torch.cat(values, axis)


def cut(call: Call) -> list[Value]:
    """SplitToSequence."""
    x, axis = call[0], call.attr("axis", 0)
    sizes = call.get(1)
    if sizes is None:
        parts = list(torch.split(x, 1, axis))
        return parts if call.attr("keepdims", 1) else [p.squeeze(axis) for p in parts]
    given: int | list[int] = int(sizes.item()) if sizes.ndim == 0 else sizes.tolist()
    return list(torch.split(x, given, axis))


OPERATORS: Family = {
    "SequenceConstruct": construct,
    "SequenceEmpty": empty,
    "SequenceAt": at,
    "SequenceInsert": insert,
    "SequenceErase": erase,
    "SequenceLength": length,
    "ConcatFromSequence": join,
    "SplitToSequence": cut,
}
