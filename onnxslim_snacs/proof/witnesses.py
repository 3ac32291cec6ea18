"""What a proof looks at beside the outputs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import prod

from onnx import ModelProto

from onnxslim_snacs.ir.keep import KeepMap
from onnxslim_snacs.ops.analyse import Analysis

#: Bytes that the inner tensors may take which are compared in one run of one side.
MEMORY = 1 << 28
_FLOAT = 4


def witnesses(analysis: Analysis, keep: KeepMap, pruned: ModelProto) -> list[str]:
    """The outputs of layers, of which the kept slots are compared beside the outputs.

    Only what a layer sums up itself: a saturated Softmax hides every difference, a Sigmoid far
    below zero shows nothing but its own rounding, and a classifier of zeros shows nothing at all.
    Where memory is short, the last ones.
    """
    known = {name for node in pruned.graph.node for name in node.output if name}
    layers = dict.fromkeys(position for position, _ in analysis.ir.sinks)
    found = [
        name
        for position in sorted(layers, reverse=True)
        for name in analysis.nodes[position].outputs
        if name in known and name not in analysis.graph.outputs and not is_periodic(keep, name)
    ]
    room, taken = MEMORY, []
    for name in found:
        room -= size_of(analysis, name)
        if room < 0:
            break
        taken.append(name)
    return taken


def sigmoids(analysis: Analysis, keep: KeepMap, pruned: ModelProto) -> dict[str, str]:
    """Outputs that a Sigmoid makes, and what it reads, which is compared beside them.

    Far below zero such an output shows nothing but the rounding of the Sigmoid: what it reads tells
    more, and the output itself is held against the range of the function.
    """
    graph = analysis.graph
    known = {name for node in pruned.graph.node for name in node.output if name}
    made = ((name, graph.producer.get(name)) for name in graph.outputs)
    nodes = {name: graph.nodes[position] for name, position in made if position is not None}
    return {
        name: node.input[0]
        for name, node in nodes.items()
        if (node.domain, node.op_type) in (("", "Sigmoid"), ("ai.onnx", "Sigmoid"))
        and node.input[0] in known
        and not is_periodic(keep, node.input[0])
    }


def is_periodic(keep: KeepMap, tensor: str) -> bool:
    """Whether slots of the tensor stand for many indices, so that they cannot be picked here."""
    return any(axis.tensor == tensor for axis in keep.periods)


def size_of(analysis: Analysis, tensor: str) -> int:
    """Bytes of a tensor over all sample sizes, as far as they are known."""
    return _FLOAT * sum(prod(shape) for shape in analysis.facts.samples(tensor))


def comparable(analysis: Analysis, keep: KeepMap, made: frozenset[str]) -> list[str]:
    """All tensors of which the kept slots can be compared, in the order of the graph.

    Args:
        analysis: the original.
        keep: what the plan keeps.
        made: what the nodes of both sides write.
    """
    facts, found = analysis.facts, []
    extents: set[str] = set()
    for node in analysis.nodes:
        counts = node.op in ("Shape", "Size") or any(name in extents for name in node.inputs)
        for name in node.outputs:
            by_shape = facts.follows_from_shapes(name)
            if counts and by_shape:  # other extents after a cut, and what follows from them
                extents.add(name)
                continue
            told = facts.is_weight(name) or not by_shape
            plain = name not in facts.sequences and not is_periodic(keep, name)
            if told and name in made and plain:
                found.append(name)
    return found


def chunks(analysis: Analysis, names: Iterable[str], memory: int = MEMORY) -> list[Sequence[str]]:
    """Tensors in runs of the graph's order that fit into memory together."""
    found: list[list[str]] = [[]]
    room = memory
    for name in names:
        room -= size_of(analysis, name)
        if room < 0 and found[-1]:
            found.append([])
            room = memory - size_of(analysis, name)
        found[-1].append(name)
    return [part for part in found if part]
