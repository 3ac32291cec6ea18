"""LSTM, GRU and RNN: a hidden unit is its gate rows, its recurrent column and its state.

With d directions, g gates (LSTM 4, GRU 3, RNN 1) and h hidden units: data (time, batch, i), W (d,
g x h, i), R (d, g x h, h), B (d, 2 x g x h), lengths (batch), states (d, batch, h), peepholes P (d,
3 x h); Y (time, d, batch, h), last states (d, batch, h).  With layout 1 the batch comes first.
`hidden_size` is one number, so a unit goes from both directions.

A streaming model is fed its first states and gives back its last ones, which come in again with the
next call.  Those keep their extent: the node picks what it needs of the first states and fills up
the last ones with zeros, which nobody but itself will ever read (see `loops`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from numpy.typing import NDArray

from onnxslim_snacs.ir.types import Axis, Blank, Extent, Fact, Pin, Sink, Tie, virtual_axis
from onnxslim_snacs.ops.common import pin_structural
from onnxslim_snacs.ops.node import Edit, Keep, OpNode, SetAttribute, SetInput, arange, known
from onnxslim_snacs.ops.products import Weight, recurrence
from onnxslim_snacs.ops.registry import Family, OpRule
from onnxslim_snacs.ops.states import fed, with_states

_W, _R = 1, 2
_STATES = (5, 6)


def propagate(node: OpNode) -> Iterable[Fact]:
    """Units run through all gates; the states sum over them, the gates over the data's features."""
    hidden = known(node.in_shape(_R))[2]
    yield from _structure(node)
    if hidden is None:
        yield from (Pin(axis, "the number of hidden units is dynamic") for axis in _last_axes(node))
        return
    units = virtual_axis(node.key, "hidden units")
    yield Extent(units, hidden)
    for axis in _last_axes(node):
        yield Tie(axis, units)
    for axis, times in _gate_axes(node):
        index = arange(0, times * hidden)
        yield Tie(axis, units, index, index % hidden)
    feature, outs = node.in_axis(0, 2), [k for k, name in enumerate(node.outputs) if name]
    yield Tie(feature, node.in_axis(_W, 2))
    out = node.out_axis(-1, outs[0]) if outs else None
    yield Sink(feature, 0, node.in_axis(_W, 2), _W, node.in_axis(_W, 1), out)
    yield Sink(node.in_axis(_R, 2), _R)
    for position in _picked_inputs(node):
        yield Pin(node.in_axis(position, 2), "a state that comes from outside keeps its extent")
    for output in sorted(node.fed_back):
        yield Pin(node.out_axis(-1, output), "a state that is fed back keeps its extent")
        yield Blank(units, output, -1)


def _last_axes(node: OpNode) -> Iterator[Axis]:
    """The axes that hold each hidden unit once."""
    yield node.in_axis(_R, 2)
    for index in _STATES:
        shared = _shared_state(node, index) is not None
        if node.has_input(index) and not shared and index not in _picked_inputs(node):
            yield node.in_axis(index, 2)
    for output, name in enumerate(node.outputs):
        if name and output not in node.fed_back:
            yield node.out_axis(-1, output)


def _picked_inputs(node: OpNode) -> list[int]:
    """The inputs that hold first states which the user feeds."""
    return [k for k in _STATES if node.has_input(k) and fed(node, node.inputs[k])]


def _shared_state(node: OpNode, index: int) -> NDArray[Any] | None:
    """A constant first state that holds one number for all units and serves other nodes too.

    Exporters write one tensor of zeros for all layers; it must not tie their units together.
    """
    value = node.in_value(index)
    name = node.inputs[index] if node.has_input(index) else ""
    readers = node.facts.graph.consumers.get(name, ())
    if value is None or value.size == 0 or (value != value[..., :1]).any():
        return None
    return value if len(readers) > 1 or list(node.inputs).count(name) > 1 else None


def _gate_axes(node: OpNode) -> Iterator[tuple[Axis, int]]:
    """The axes that hold all hidden units one gate after the other, with how many times."""
    gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[node.op]
    yield node.in_axis(_W, 1), gates
    yield node.in_axis(_R, 1), gates
    if node.has_input(3):
        yield node.in_axis(3, 1), 2 * gates
    if node.has_input(7):
        yield node.in_axis(7, 1), 3


def _structure(node: OpNode) -> Iterator[Fact]:
    """Time, batch and direction; nothing of these goes."""
    reason = "time, batch or direction of a recurrence"
    yield from pin_structural((node.in_axis(0, dim) for dim in (0, 1)), reason)
    for index in range(1, len(node.inputs)):
        if node.has_input(index):
            yield from pin_structural([node.in_axis(index, 0)], reason)
    for index in _STATES:
        if node.has_input(index):
            yield from pin_structural([node.in_axis(index, 1)], reason)
    for output, name in enumerate(node.outputs):
        rank = len(known(node.out_shape(output))) if name else 1
        yield from pin_structural((node.out_axis(d, output) for d in range(rank - 1)), reason)


def shrink(node: OpNode, keep: Keep) -> Iterable[Edit]:
    """`hidden_size` counts the units that are left; a shared first state gets as many."""
    hidden = known(node.in_shape(_R))[2]
    if hidden is None:
        return
    index = keep.index(virtual_axis(node.key, "hidden units"))
    if index is None:
        return
    left = len(index)
    shared = {k: s[..., :left] for k in _STATES if (s := _shared_state(node, k)) is not None}
    picked, filled = _picked_inputs(node), sorted(node.fed_back)
    if picked or filled:
        yield with_states(node, index, hidden, shared, picked, filled)
        return
    if node.attr("hidden_size") is not None:
        yield SetAttribute("hidden_size", left)
    for position, state in shared.items():
        yield SetInput(position, state)


RULES: Family = {
    op: OpRule(propagate, shrink, recurrence, Weight((1, 2, 3))) for op in ("LSTM", "GRU", "RNN")
}
