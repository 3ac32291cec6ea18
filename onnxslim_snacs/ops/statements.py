"""What the nodes of a graph state, and what the graph states itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from onnxslim_snacs.errors import foreign
from onnxslim_snacs.ir.types import Axis, Fact, Pin, Stated, axes_of
from onnxslim_snacs.model.body import bodies_of
from onnxslim_snacs.model.facts import ModelFacts
from onnxslim_snacs.model.graph import ModelGraph, captured
from onnxslim_snacs.ops import OPERATORS
from onnxslim_snacs.ops.chain_rules import propagate
from onnxslim_snacs.ops.chains import Chain
from onnxslim_snacs.ops.node import MISFITS, OpNode


def graph_facts(graph: ModelGraph, facts: ModelFacts, around: str = "graph") -> Iterator[Stated]:
    """What the outside world sees of the graph stays as it is."""
    for names, reason in ((graph.inputs, "input"), (graph.outputs, "output")):
        for name in names:
            for pin in pin_all(facts, [name], f"{around} {reason}"):
                yield Stated(-1, foreign(name), "graph", pin)


def node_facts(nodes: Iterable[OpNode], chains: Iterable[Chain] = ()) -> Iterator[Stated]:
    """The facts that each node's rule states, or the chain to which it belongs."""
    last = {max(chain.nodes): chain for chain in chains}
    inside = {position for chain in last.values() for position in chain.nodes}
    for number, node in enumerate(nodes):
        if number in last:
            facts: Iterable[Fact] = propagate(last[number])
        else:
            facts = () if number in inside else _facts_of(node)
        name, op = foreign(node.name), foreign(node.op)
        for fact in facts:
            yield Stated(number, name, op, fact)


def _facts_of(node: OpNode) -> Iterable[Fact]:
    rule = OPERATORS.get(node.op)
    around = [n for n in (*node.inputs, *node.outputs, *captured(node.proto)) if n]
    if any(bodies_of(node.proto)):
        return pin_all(node.facts, around, f"goes into or out of the bodies of {foreign(node.op)}")
    if rule is None:
        return pin_all(node.facts, around, f"operator {foreign(node.op)} has no rule")
    named = (n for n in (*node.inputs, *node.outputs) if n and not node.facts.holds_nothing(n))
    unknown = [n for n in named if node.facts.shape(n) is None]
    if unknown:
        reason = f"the shape of {foreign(unknown[0])} is not known"
        return pin_all(node.facts, around, reason)
    try:
        facts = list(rule.propagate(node))
    except MISFITS:
        if node.facts.ran:  # the shapes are those of a run, and the fault is the rule's
            raise
        reason = f"{foreign(node.op)} does not fit the shapes that the model declares"
        return pin_all(node.facts, around, reason)
    return [*facts, *_unnamed_operands(node, facts)]


def _unnamed_operands(node: OpNode, facts: Iterable[Fact]) -> Iterator[Pin]:
    """Pins on vectors of which the rule says nothing: sizes, scales, axes hold no channels."""
    named = {axis.tensor for fact in facts for axis in axes_of(fact)}
    for index, name in enumerate(node.inputs):
        silent = name and name not in named and len(node.in_shape(index) or ()) == 1
        if silent and node.facts.follows_from_shapes(name):
            yield Pin(Axis(name, 0), f"operand of {node.op}", structural=True)


def pin_all(facts: ModelFacts, tensors: Iterable[str], reason: str) -> Iterator[Pin]:
    """Pins on every axis of every given tensor."""
    for tensor in tensors:
        shape = facts.shape(tensor)
        for dim in range(len(shape) if shape is not None else 0):
            yield Pin(Axis(tensor, dim), reason)
