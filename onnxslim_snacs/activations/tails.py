"""Run the second part of a model only: what lies before a change need not be computed again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from numpy.typing import NDArray
from onnx import ModelProto

from onnxslim_snacs.model.facts import ModelFacts
from onnxslim_snacs.model.graph import captured
from onnxslim_snacs.model.pieces import constant_nodes, fed_input, reads, with_constants
from onnxslim_snacs.model.shell import shell

#: Numbers of one sample that may cross a cut; kept for every sample that runs from there.
MOST_CROSSING = 1 << 18


@dataclass(frozen=True, slots=True)
class Opening:
    """A place between two nodes of a graph.

    Attributes:
        start: position of the first node behind it.
        crossing: what nodes behind it, or the outputs, need of what nodes before it make.
    """

    start: int
    crossing: tuple[str, ...]


def find_cuts(
    model: ModelProto, facts: ModelFacts, starts: Sequence[int], count: int
) -> tuple[Opening, ...]:
    """Up to `count` places, evenly spread over the candidates, where little crosses.

    Args:
        model: the model.
        facts: shapes of its tensors; a place that others cross does not count.
        starts: positions of nodes before which one may cut, ascending.
        count: how many places are wanted.
    """
    crossing = _crossings(model, set(starts))
    cheap = []
    for start in starts:
        sizes = [_numbers(facts, name) for name in crossing[start]]
        known = [size for size in sizes if size is not None]
        if len(known) == len(sizes) and sum(known) <= MOST_CROSSING:
            cheap.append(Opening(start, crossing[start]))
    places = {(number * len(cheap)) // (count + 1) for number in range(1, count + 1)}
    return tuple(cheap[place] for place in sorted(places) if place < len(cheap))


def _crossings(model: ModelProto, starts: set[int]) -> dict[int, tuple[str, ...]]:
    """Position -> the tensors that cross the place before it."""
    given = {t.name for t in (*model.graph.initializer, *model.graph.input)}
    given |= {name for p in constant_nodes(model) for name in model.graph.node[p].output}
    needed = dict.fromkeys(output.name for output in model.graph.output)
    found = {}
    for position in range(len(model.graph.node) - 1, -1, -1):
        node = model.graph.node[position]
        for name in node.output:
            needed.pop(name, None)
        for name in (*node.input, *captured(node)):
            if name and name not in given:
                needed[name] = None
        if position in starts:
            found[position] = tuple(needed)
    return found


def _numbers(facts: ModelFacts, name: str) -> int | None:
    """Numbers in one sample of a tensor, None if that is not known."""
    shapes = facts.samples(name)
    return prod(shapes[0]) // max(1, shapes[0][0] if shapes[0] else 1) if shapes else None


def tail(
    model: ModelProto, cut: Opening, crossing: Sequence[Mapping[str, NDArray[Any]]]
) -> ModelProto:
    """The part of a model behind a cut.

    Args:
        model: the whole.
        cut: where it begins.
        crossing: for each run what crosses.
    """
    part = shell(model, "graph")
    part.graph.name = model.graph.name
    behind = range(cut.start, len(model.graph.node))
    nodes, stored = with_constants(model, behind, constant_nodes(model))
    part.graph.node.extend(nodes)
    part.graph.initializer.extend(stored)
    read = {name for node in nodes for name in reads(node)}
    part.graph.input.extend(v for v in model.graph.input if v.name in read)
    part.graph.output.extend(model.graph.output)
    part.graph.input.extend(fed_input(n, [run[n] for run in crossing]) for n in cut.crossing)
    return part
