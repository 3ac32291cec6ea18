"""Weights that nodes compute from stored tensors, stored as computed instead, and back again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto

from onnxslim_snacs.model.edit import add_initializer, put_nodes
from onnxslim_snacs.model.graph import ModelGraph
from onnxslim_snacs.model.pieces import reads


@dataclass(frozen=True, slots=True)
class Fold:
    """A weight that is computed in the file.

    Attributes:
        name: the tensor.
        nodes: what computes it, in order.
        stored: what these nodes read and nobody else does.
        source: every stored tensor from which it comes.
    """

    name: str
    nodes: tuple[NodeProto, ...]
    stored: tuple[TensorProto, ...]
    source: frozenset[str]


def ancestors(graph: ModelGraph, tensor: str) -> list[int]:
    """Positions of the nodes on which a tensor depends, in order."""
    found: set[int] = set()
    pending = [tensor]
    while pending:
        position = graph.producer.get(pending.pop())
        if position is not None and position not in found:
            found.add(position)
            pending.extend(reads(graph.nodes[position]))
    return sorted(found)


def fold(
    graph: ModelGraph, values: Mapping[str, NDArray[Any]]
) -> tuple[ModelGraph, tuple[Fold, ...]]:
    """Store some tensors that follow from constants, without the nodes that nobody needs then.

    Args:
        graph: the model; not changed.
        values: the tensors with their values.
    """
    model = ModelProto()
    model.CopyFrom(graph.proto)
    regions = {name: ancestors(graph, name) for name in values}
    inside = {position for region in regions.values() for position in region}
    readers = Counter(name for node in graph.nodes for name in reads(node))
    readers.update(graph.outputs)
    spent = set[int]()
    for position in sorted(inside, reverse=True):
        node = graph.nodes[position]
        if any(readers[name] for name in node.output if name not in values):
            continue
        spent.add(position)
        readers.subtract(reads(node))
    for position in sorted(inside - spent):
        _rename_made(model.graph.node[position], values)
    put_nodes(model.graph, instead=dict.fromkeys(spent, ()))
    listed = {info.name for info in graph.graph.input}
    idle = {n for n in graph.initializers if not readers[n] and n not in listed}
    folds = []
    for name, region in regions.items():
        read = {n for p in region for n in reads(graph.nodes[p])}
        source = frozenset(read & graph.initializers.keys())
        stored = tuple(graph.initializers[n] for n in sorted(source & idle))
        folds.append(Fold(name, tuple(graph.nodes[p] for p in region), stored, source))
    gone = {tensor.name for one in folds for tensor in one.stored}
    for position in reversed(range(len(model.graph.initializer))):
        if model.graph.initializer[position].name in gone:
            del model.graph.initializer[position]
    for name, value in values.items():
        add_initializer(model, name, value)
    return ModelGraph(model, graph.base_dir), tuple(folds)


def _rename_made(node: NodeProto, values: Mapping[str, NDArray[Any]]) -> None:
    """A node that stays for its other outputs writes nothing that is stored now."""
    for k, name in enumerate(node.output):
        if name in values:
            node.output[k] = ""


def unfold(model: ModelProto, folds: Iterable[Fold]) -> None:
    """Let nodes compute weights again, in front of those that read them first.

    Args:
        model: a model in which they are stored; changed in place, for it is ours.
        folds: the weights.
    """
    graph = model.graph
    for one in folds:
        kept = [k for k, tensor in enumerate(graph.initializer) if tensor.name == one.name]
        if not kept:  # the cut has left nobody who reads it
            continue
        del graph.initializer[kept[0]]
        _unlist(model, one.name)
        made = {name for node in graph.node for name in node.output if name}
        missing = [node for node in one.nodes if not made.issuperset(n for n in node.output if n)]
        first = next((k for k, node in enumerate(graph.node) if one.name in reads(node)), 0)
        put_nodes(graph, before={first: missing})
        known = {tensor.name for tensor in graph.initializer}
        graph.initializer.extend(t for t in one.stored if t.name not in known)


def _unlist(model: ModelProto, name: str) -> None:
    for position in reversed(range(len(model.graph.input))):
        if model.graph.input[position].name == name:
            del model.graph.input[position]
