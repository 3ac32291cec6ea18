"""States that the user feeds back: what goes out of a streaming model comes in with the next call.

A last state may be filled up with zeros for units that are gone only where nobody sees those zeros
but the recurrent node itself.  So every element of every graph input gets a number, the numbers are
moved through the model as the elements are, and a recurrent node hands those of its first state on
as those of its last.  Where they come out of the model at the very places at which they went in,
the loop is closed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxslim_snacs.ir.types import IntArray
from onnxslim_snacs.model.evaluate import evaluate
from onnxslim_snacs.model.graph import ModelGraph
from onnxslim_snacs.ops.node import OpNode

#: First state -> last state, as positions among inputs and outputs.
_STATES = {5: 1, 6: 2}
#: Operators that only move what they are given, with the inputs that hold it (None: all).
_MOVES: dict[str, tuple[int, ...] | None] = {
    **dict.fromkeys(("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose"), (0,)),
    **dict.fromkeys(("Identity", "Slice", "Split", "Gather"), (0,)),
    **dict.fromkeys(("ScatterND", "ScatterElements"), (0, 2)),
    "Concat": None,
}
#: Larger tensors than this are no states.
_MAX_ELEMENTS = 2**22
_UNKNOWN = -1

Numbers = dict[str, IntArray]


def closed_loops(graph: ModelGraph, nodes: Sequence[OpNode]) -> dict[int, frozenset[int]]:
    """The last states that are fed back.

    Args:
        graph: the model.
        nodes: its nodes.

    Returns:
        Position of a recurrent node -> positions of those of its outputs.
    """
    recurrent = [k for k, node in enumerate(nodes) if any(_pairs(node))]
    if not recurrent or not nodes[0].facts.ran:
        return {}
    found: dict[int, set[int]] | None = None
    for sample in range(len(nodes[0].facts.shapes)):
        closed = _closed(graph, nodes, recurrent, sample)
        found = closed if found is None else {k: found[k] & closed[k] for k in found}
    return {k: frozenset(outputs) for k, outputs in (found or {}).items() if outputs}


def _pairs(node: OpNode) -> Iterator[tuple[str, str, int]]:
    """(first state, last state, position of the latter) of a recurrent node."""
    for source, output in _STATES.items() if node.op in ("LSTM", "GRU", "RNN") else ():
        made = node.outputs[output] if output < len(node.outputs) else ""
        if made and node.has_input(source) and not node.facts.is_weight(node.inputs[source]):
            yield node.inputs[source], made, output


def _closed(
    graph: ModelGraph, nodes: Sequence[OpNode], recurrent: Sequence[int], sample: int
) -> dict[int, set[int]]:
    """The loops under one sample size."""
    shapes = nodes[0].facts.shapes[sample]
    starts: dict[str, int] = {}
    numbers: Numbers = {}
    total = 0
    for name in graph.inputs:
        size = prod(shapes[name])
        if size <= _MAX_ELEMENTS:
            starts[name] = total
            numbers[name] = np.arange(total, total + size, dtype=np.int64).reshape(shapes[name])
            total += size
    for node in nodes:
        for first, last, _ in _pairs(node):
            if first in numbers:
                known = numbers[first]
                fresh = (known >= 0) & (known < total)  # what has been through a node is new
                numbers[last] = np.where(fresh, known + total, _UNKNOWN)
        if node.op in _MOVES:
            numbers.update(_moved(node, numbers, sample))
    ends = {k: set[int]() for k in recurrent}
    for position in recurrent:
        for first, _, output in _pairs(nodes[position]):
            if first in numbers and _returns(graph, numbers, starts, numbers[first], total):
                ends[position].add(output)
    return ends


def _returns(
    graph: ModelGraph, numbers: Numbers, starts: Mapping[str, int], state: IntArray, total: int
) -> bool:
    """Whether the numbers of a first state leave, marked as a last state, where they came in."""
    for source, start in starts.items():
        places = state.reshape(-1) - start
        if places.size == 0 or places.min() < 0 or places.max() >= numbers[source].size:
            continue
        for target in graph.outputs:
            out = numbers.get(target)
            if out is None or out.shape != numbers[source].shape:
                continue
            if np.array_equal(out.reshape(-1)[places], state.reshape(-1) + total):
                return True
    return False


def _moved(node: OpNode, numbers: Numbers, sample: int) -> Numbers:
    """What a node makes of the numbers; nothing if it has none, or an operand is not known."""
    places = _MOVES[node.op]
    data = range(len(node.inputs)) if places is None else places
    names = [node.inputs[k] for k in data if node.has_input(k)]
    if not any(name in numbers for name in names):
        return {}
    feeds: dict[str, NDArray[Any]] = {}
    for name in node.inputs:
        value = numbers.get(name)
        if value is None and name in names:
            shape = _shape(node, name, sample)
            value = None if shape is None else np.full(shape, _UNKNOWN, dtype=np.int64)
        elif value is None and name:
            value = node.facts.values[sample].get(name, node.facts.value(name))
        if name and (value is None or value.size > _MAX_ELEMENTS):
            return {}
        if name:
            feeds[name] = np.asarray(value)
    made = evaluate(node.proto, feeds, {"": node.opset})
    return {name: np.asarray(value, dtype=np.int64) for name, value in made.items()}


def _shape(node: OpNode, tensor: str, sample: int) -> tuple[int, ...] | None:
    seen = node.facts.samples(tensor)
    return seen[sample] if seen else None
