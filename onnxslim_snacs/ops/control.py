"""What goes into the bodies of control flow and comes out again, axis by axis.

What a body captures has the same name inside and outside, so that nothing has to be said of it.
Everything else changes its name at the border: the results of the branches of If, the states that
Loop and Scan carry from turn to turn, the slices that Scan hands in, and what is stacked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from onnxslim_snacs.ir.types import Axis, Fact, Pin, Tie
from onnxslim_snacs.model.body import bodies_of
from onnxslim_snacs.model.facts import ModelFacts
from onnxslim_snacs.model.sizes import Shape
from onnxslim_snacs.ops.node import OpNode

#: Before this version Scan has a batch of its own.
_SCAN = 9


@dataclass(frozen=True, slots=True)
class Crossing:
    """Tensors that are one and the same on both sides of the border.

    Attributes:
        outside: names of tensors around the node.
        inside: names of tensors in its bodies.
        turn: the axis that a tensor has outside and not inside, along which a turn takes or makes
            one slice; None if it has none.
    """

    outside: tuple[str, ...]
    inside: tuple[str, ...]
    turn: int | None = None


def opens(node: OpNode) -> bool:
    """Whether it is known how tensors cross the border of the node's bodies."""
    return node.op in ("If", "Loop") or (node.op == "Scan" and node.opset >= _SCAN)


def border_facts(node: OpNode, bodies: Mapping[str, ModelFacts]) -> Iterator[Fact]:
    """The facts that tie a node to its bodies.

    Args:
        node: an If, Loop or Scan.
        bodies: attribute -> what is known of the body that it holds, for every body.
    """
    yield from _pinned(node, node.inputs[: _operands(node)], "decides which way is taken")
    inside = {
        name: facts
        for facts in bodies.values()
        for name in (*facts.graph.inputs, *facts.graph.outputs)
    }
    for crossing in _crossings(node):
        ends = [(name, node.facts) for name in crossing.outside]
        ends += [(name, inside[name]) for name in crossing.inside]
        yield from _one(node, ends, len(crossing.outside), crossing.turn)


def _operands(node: OpNode) -> int:
    """How many inputs say how often and whether something is done."""
    return {"If": 1, "Loop": 2}.get(node.op, 0)


def _crossings(node: OpNode) -> Iterator[Crossing]:
    bodies = dict(bodies_of(node.proto))
    if node.op == "If":
        for number, name in enumerate(node.outputs):
            results = tuple(body.output[number].name for body in bodies.values())
            yield Crossing((name,) if name else (), results)
        return
    body, extra = bodies["body"], _operands(node)
    into, out = [v.name for v in body.input], [v.name for v in body.output]
    inputs, outputs = list(node.inputs), list(node.outputs)
    slices = int(node.attr("num_scan_inputs", 0))
    states = len(into) - extra - slices
    conditions = 1 if node.op == "Loop" else 0
    for k in range(states):
        around = (inputs[extra + k], outputs[k] if k < len(outputs) else "")
        yield Crossing(tuple(filter(None, around)), (into[extra + k], out[conditions + k]))
    for k, axis in enumerate(node.attr("scan_input_axes") or [0] * slices):
        yield Crossing((inputs[states + k],), (into[states + k],), int(axis))
    stacked = outputs[states:]
    for k, axis in enumerate(node.attr("scan_output_axes") or [0] * len(stacked)):
        name = stacked[k] if k < len(stacked) else ""
        if name:
            yield Crossing((name,), (out[conditions + states + k],), int(axis))


def _one(
    node: OpNode,
    ends: Sequence[tuple[str, ModelFacts]],
    outside: int,
    turn: int | None,
) -> Iterator[Fact]:
    """The facts of one crossing: ties between axes of one extent, else pins.

    A sequence that holds nothing has no axes, and fits any other.
    """
    outside -= sum(facts.holds_nothing(name) for name, facts in ends[:outside])
    ends = [(name, facts) for name, facts in ends if not facts.holds_nothing(name)]
    shapes = [facts.shape(name) for name, facts in ends]
    aligned = [_without(shape, turn if k < outside else None) for k, shape in enumerate(shapes)]
    if any(dims is None for dims in aligned) or len({len(dims or ()) for dims in aligned}) != 1:
        for (name, _), shape in zip(ends, shapes, strict=True):
            yield from _pins(name, shape, f"the shape changes on the way through {node.op}")
        return
    for (name, _), shape in zip(ends[:outside], shapes, strict=False):
        if turn is not None and shape is not None:
            yield Pin(Axis(name, turn % len(shape)), f"turns of {node.op}", structural=True)
    for columns in zip(*(dims or () for dims in aligned), strict=True):
        axes = [Axis(name, dim) for (name, _), (dim, _) in zip(ends, columns, strict=True)]
        if len({extent for _, extent in columns}) == 1:
            yield from (Tie(axes[0], axis) for axis in axes[1:])
        else:
            reason = f"the extent changes on the way through {node.op}"
            yield from (Pin(axis, reason) for axis in axes)


def _without(shape: Shape | None, turn: int | None) -> list[tuple[int, int | None]] | None:
    """(dimension, extent) of every axis but the one of the turns."""
    if shape is None or (turn is not None and not shape):
        return None
    skip = turn % len(shape) if turn is not None else -1
    return [(dim, extent) for dim, extent in enumerate(shape) if dim != skip]


def _pinned(node: OpNode, tensors: Sequence[str], reason: str) -> Iterator[Pin]:
    for name in tensors:
        if name:
            yield from _pins(name, node.facts.shape(name), reason)


def _pins(tensor: str, shape: Shape | None, reason: str) -> Iterator[Pin]:
    yield from (Pin(Axis(tensor, dim), reason) for dim in range(len(shape or ())))
