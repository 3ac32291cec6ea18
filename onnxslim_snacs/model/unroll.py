"""Loops written out, turn by turn, where the tensors of a sequence are known only so.

A loop that puts tensors of different extents into a sequence (a tensor cut at places that lie in a
table) has no axis that they share.  If it makes a few turns, always as many, then each of its
tensors has a name of its own once the turns stand one after the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from onnx import GraphProto, NodeProto, helper, numpy_helper

from onnxslim_snacs.model.body import bodies_of
from onnxslim_snacs.model.edit import free_name, taken_names
from onnxslim_snacs.model.facts import ModelFacts
from onnxslim_snacs.model.graph import ModelGraph, node_constant, subgraphs
from onnxslim_snacs.model.shell import shell
from onnxslim_snacs.model.values import RAGGED

#: Turns, and nodes of all turns together, up to which a loop is written out.
_TURNS, _NODES = 32, 1024
#: Inputs of a loop, and of its body, in front of the states.
_AHEAD = 2

Names = dict[str, str]


@dataclass(slots=True)
class _Turned:
    """A graph on its way to have no such loops.

    Attributes:
        graph: the new graph.
        taken: names that are in use.
    """

    graph: GraphProto
    taken: set[str]

    def name(self, wanted: str) -> str:
        """A name that nobody has."""
        found = free_name(wanted, self.taken)
        self.taken.add(found)
        return found


def unrolled(graph: ModelGraph, facts: ModelFacts) -> ModelGraph:
    """The model with loops written out that fill a sequence with tensors of different extents.

    Args:
        graph: the model; not changed.
        facts: what is known of its tensors.

    Returns:
        A new model; the same one if it has no such loop of a constant number of turns.
    """
    turns = {k: _turns(node, facts) for k, node in enumerate(graph.nodes)}
    if not any(turns.values()):
        return graph
    model = shell(graph.proto, "graph")
    model.graph.CopyFrom(shell(graph.graph, "node"))
    stays = [node for position, node in enumerate(graph.nodes) if not turns[position]]
    work = _Turned(model.graph, taken_names(graph.graph).union(*map(_inner_names, stays)))
    for position, node in enumerate(graph.nodes):
        count = turns[position]
        if count:
            _write_out(work, node, count)
        else:
            work.graph.node.append(node)
    return ModelGraph(model, graph.base_dir)


def _inner_names(node: NodeProto) -> set[str]:
    """The names that are in use in the bodies of a node."""
    found, pending = set[str](), list(subgraphs(node))
    while pending:
        body = pending.pop()
        found |= taken_names(body)
        pending.extend(inner for step in body.node for inner in subgraphs(step))
    return found


def _turns(node: NodeProto, facts: ModelFacts) -> int:
    """How many turns a loop makes that is to be written out; 0 for every other node.

    Bodies inside of it would lose their names, by which they are known, so that it stays then.
    """
    if node.op_type != "Loop" or node.domain not in ("", "ai.onnx") or not node.input[0]:
        return 0
    body = dict(bodies_of(node))["body"]
    states = len(node.input) - _AHEAD
    seen = (shape for name in node.output for shape in facts.samples(name))
    differ = any(RAGGED in shape for shape in seen)
    nested = any(any(bodies_of(inner)) for inner in body.node)
    if nested or not differ or len(node.output) > states or not _goes_on(node, body, facts):
        return 0
    value = facts.value(node.input[0])
    count = int(value.reshape(-1)[0]) if value is not None and value.size == 1 else 0
    fits = 0 < count <= _TURNS and count * len(body.node) <= _NODES
    return count if fits else 0


def _goes_on(node: NodeProto, body: GraphProto, facts: ModelFacts) -> bool:
    """Whether nothing ends the loop before its last turn."""
    going = facts.value(node.input[1]) if node.input[1] else np.array(True)
    name, seen = body.output[0].name, {body.input[1].name: going}
    for inner in body.node:
        if inner.op_type == "Constant":
            seen[inner.output[0]] = node_constant(inner)
        elif inner.op_type in ("Identity", "Cast") and inner.input[0] in seen:
            seen[inner.output[0]] = seen[inner.input[0]]
    made = any(name in inner.output for inner in body.node) or name in seen
    last = seen.get(name) if made else facts.value(name)
    return all(value is not None and bool(value.all()) for value in (going, last))


def _write_out(work: _Turned, node: NodeProto, count: int) -> None:
    """Put the turns of a loop one after the other."""
    body = dict(bodies_of(node))["body"]
    once: Names = {}
    for tensor in body.initializer:
        once[tensor.name] = work.name(tensor.name)
        kept = work.graph.initializer.add()
        kept.CopyFrom(tensor)
        kept.name = once[tensor.name]
    inner = [n for n in body.node if n.op_type != "Constant"]
    for constant in (n for n in body.node if n.op_type == "Constant"):
        once[constant.output[0]] = work.name(constant.output[0])
        work.graph.node.append(_renamed(constant, once))
    states = list(node.input[_AHEAD:])
    for turn in range(count):
        own = [_constant(work, node, turn), _constant(work, node, np.True_), *states]
        names = {**once, **dict(zip((v.name for v in body.input), own, strict=True))}
        for step in inner:
            names.update((name, work.name(f"{name}_{turn}")) for name in step.output if name)
            work.graph.node.append(_renamed(step, names))
        states = [names.get(info.name, info.name) for info in body.output[1:]]
    for name, made in zip(node.output, states, strict=False):
        if name:
            work.graph.node.append(helper.make_node("Identity", [made], [name]))


def _constant(work: _Turned, node: NodeProto, value: int | np.bool_) -> str:
    name = work.name(f"{node.output[0]}_turn")
    kind = np.bool_ if isinstance(value, np.bool_) else np.int64
    tensor = numpy_helper.from_array(np.array(value, dtype=kind))
    work.graph.node.append(helper.make_node("Constant", [], [name], value=tensor))
    return name


def _renamed(node: NodeProto, names: Mapping[str, str]) -> NodeProto:
    """A node that reads and writes under other names."""
    fresh = NodeProto()
    fresh.CopyFrom(node)
    for places in (fresh.input, fresh.output):
        for k, name in enumerate(places):
            places[k] = names.get(name, name)
    return fresh
