"""Sequences whose tensors are known one by one: what goes in and out of them is only renamed.

SequenceAt at a constant position is Identity, ConcatFromSequence is Concat, SplitToSequence is
Split.  A sequence that a body fills, or of which a position is computed, stays one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, helper, numpy_helper

from onnxslim_snacs.model.edit import free_name, taken_names
from onnxslim_snacs.model.graph import ModelGraph
from onnxslim_snacs.model.pieces import reads
from onnxslim_snacs.model.sizes import Shape

_MAKERS = ("SequenceEmpty", "SequenceConstruct", "SequenceInsert", "SequenceErase")
_HANDLES = (*_MAKERS, "SplitToSequence", "SequenceAt", "SequenceLength", "ConcatFromSequence")
#: Since this version axes and sizes are inputs.
_OPERANDS = 13
#: Tensors that a sequence may hold.
_LONGEST = 256


@dataclass(slots=True)
class _Work:
    """A graph on its way to have no sequences.

    Attributes:
        opset: version of its operators.
        value: the value of a tensor where it is constant.
        shape: the shape of a tensor.
        taken: names that are in use.
        held: sequence -> the tensors that it holds.
        nodes: the new nodes.
    """

    opset: int
    value: Callable[[str], NDArray[Any] | None]
    shape: Callable[[str], Shape | None]
    taken: set[str]
    held: dict[str, list[str]] = field(default_factory=dict)
    nodes: list[NodeProto] = field(default_factory=list)

    def name(self, wanted: str) -> str:
        """A name that nobody has."""
        found = free_name(wanted, self.taken)
        self.taken.add(found)
        return found

    def constant(self, wanted: str, values: list[int]) -> str:
        """A vector of integers."""
        name = self.name(wanted)
        tensor = numpy_helper.from_array(np.array(values, dtype=np.int64))
        self.nodes.append(helper.make_node("Constant", [], [name], value=tensor))
        return name

    def with_ints(
        self, op: str, data: str, outputs: list[str], ints: list[int], axis: int | None = None
    ) -> None:
        """A node with a vector of integers, which is an attribute in old operator sets."""
        label = "split" if op == "Split" else "axes"
        node = helper.make_node(op, [data], outputs)
        if axis is not None:
            node.attribute.append(helper.make_attribute("axis", axis))
        if self.opset < _OPERANDS:
            node.attribute.append(helper.make_attribute(label, ints))
        else:
            node.input.append(self.constant(f"{outputs[0]}_{label}", ints))
        self.nodes.append(node)


def without_sequences(
    graph: ModelGraph,
    value: Callable[[str], NDArray[Any] | None],
    shape: Callable[[str], Shape | None],
) -> ModelGraph:
    """The model with tensors in place of the sequences that are known.

    Args:
        graph: the model; not changed.
        value: the value of a tensor where it is constant.
        shape: the shape of a tensor.

    Returns:
        A new model; the same one if it has no such sequence.
    """
    if not any(node.op_type in _HANDLES for node in graph.nodes):
        return graph
    work = _Work(graph.opsets.get("", 1), value, shape, taken_names(graph.graph))
    spare: set[int] = set()
    resolved = False
    for node in graph.nodes:
        start = len(work.nodes)
        plain = node.domain in ("", "ai.onnx")
        if plain and _is_read(work, node):
            resolved = True
            continue
        work.nodes.append(node)
        if plain and _is_made(work, node):
            spare.update(range(start, len(work.nodes)))
    if not resolved:
        return graph
    model = ModelProto()
    model.CopyFrom(graph.proto)
    del model.graph.node[:]
    model.graph.node.extend(_without_spare(work.nodes, spare, set(graph.outputs)))
    return ModelGraph(model, graph.base_dir)


def _without_spare(
    nodes: list[NodeProto], spare: set[int], needed: set[str]
) -> Iterator[NodeProto]:
    """The nodes without those of the spare ones that nobody reads."""
    stays = []
    for position in reversed(range(len(nodes))):
        if position not in spare or needed.intersection(nodes[position].output):
            needed |= reads(nodes[position])
            stays.append(nodes[position])
    yield from reversed(stays)


def _attr(node: NodeProto, name: str, default: int) -> int:
    return next((int(a.i) for a in node.attribute if a.name == name), default)


def _position(work: _Work, node: NodeProto, index: int, last: int) -> int | None:
    """A constant position counted from 0; `last` where it is left out, None where computed."""
    if index >= len(node.input) or not node.input[index]:
        return last
    found = work.value(node.input[index])
    return None if found is None or found.size != 1 else int(found.reshape(-1)[0])


def _is_made(work: _Work, node: NodeProto) -> bool:
    """Whether the node makes a sequence of known tensors, of which a note is made."""
    held: list[str] | None = None
    if node.op_type == "SequenceEmpty":
        held = []
    elif node.op_type == "SequenceConstruct":
        held = list(node.input)
    elif node.op_type == "Identity" and node.input[0] in work.held:
        held = work.held[node.input[0]]
    elif node.op_type in ("SequenceInsert", "SequenceErase") and node.input[0] in work.held:
        held = _edited(work, node, list(work.held[node.input[0]]))
    elif node.op_type == "SplitToSequence":
        held = _split(work, node)
    if held is None or len(held) > _LONGEST:
        return False
    work.held[node.output[0]] = held
    return True


def _edited(work: _Work, node: NodeProto, held: list[str]) -> list[str] | None:
    insert = node.op_type == "SequenceInsert"
    place = _position(work, node, 2 if insert else 1, len(held) if insert else len(held) - 1)
    if place is None or not -len(held) <= place < len(held) + insert:
        return None
    place += len(held) if place < 0 else 0
    held[place : place + (not insert)] = [node.input[1]] if insert else []
    return held


def _split(work: _Work, node: NodeProto) -> list[str] | None:
    """The parts of a tensor whose extents are known."""
    shape, axis = work.shape(node.input[0]), _attr(node, "axis", 0)
    told = len(node.input) > 1 and node.input[1] != ""
    sizes = work.value(node.input[1]) if told else np.array(1)
    extent = shape[axis] if shape is not None and -len(shape) <= axis < len(shape) else None
    if sizes is None:
        return None
    if sizes.ndim:
        parts = [int(size) for size in sizes]
    elif extent is None or int(sizes) < 1 or extent > _LONGEST * int(sizes):
        return None
    else:
        size = int(sizes)
        parts = [min(size, extent - start) for start in range(0, extent, size)]
    names = [work.name(f"{node.output[0]}_{k}") for k in range(len(parts))]
    work.with_ints("Split", node.input[0], names, parts, axis=axis)
    if told or _attr(node, "keepdims", 1):
        return names
    flat = [work.name(f"{name}_flat") for name in names]
    for name, target in zip(names, flat, strict=True):
        work.with_ints("Squeeze", name, [target], [axis])
    return flat


def _is_read(work: _Work, node: NodeProto) -> bool:
    """Whether the node takes tensors out of a known sequence; then others stand for it."""
    if not node.input or node.input[0] not in work.held:
        return False
    held, out = work.held[node.input[0]], node.output[0]
    if node.op_type == "SequenceLength":
        value = numpy_helper.from_array(np.array(len(held), dtype=np.int64))
        work.nodes.append(helper.make_node("Constant", [], [out], name=node.name, value=value))
        return True
    if node.op_type == "SequenceAt":
        place = _position(work, node, 1, 0)
        if place is None or not -len(held) <= place < len(held):
            return False
        work.nodes.append(helper.make_node("Identity", [held[place]], [out], name=node.name))
        return True
    if node.op_type != "ConcatFromSequence" or not held:
        return False
    axis, parts = _attr(node, "axis", 0), held
    if _attr(node, "new_axis", 0):
        parts = [work.name(f"{out}_{k}") for k in range(len(held))]
        for name, target in zip(held, parts, strict=True):
            work.with_ints("Unsqueeze", name, [target], [axis])
    work.nodes.append(helper.make_node("Concat", parts, [out], name=node.name, axis=axis))
    return True
