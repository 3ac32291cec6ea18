"""Nodes behind what they read: converters append casts at the end, and ONNX Runtime sorts them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from graphlib import CycleError, TopologicalSorter

from onnx import FunctionProto, GraphProto, ModelProto, NodeProto

from onnxslim_snacs.model.graph import captured, subgraphs


def in_order(model: ModelProto) -> ModelProto:
    """The model with every node behind those whose results it reads, else as they stood.

    Args:
        model: the model; not changed.

    Returns:
        The same model if its nodes stand so already, or cannot: a cycle is for others to refuse.
    """
    if all(_stands(graph.node) for graph in _graphs(model)):
        return model
    fresh = ModelProto()
    fresh.CopyFrom(model)
    for graph in _graphs(fresh):
        _sort(graph)
    return fresh


def _graphs(model: ModelProto) -> Iterator[GraphProto | FunctionProto]:
    """The graph, functions and all bodies, the innermost first."""
    for graph in (model.graph, *model.functions):
        yield from _inside(graph.node)
        yield graph


def _inside(nodes: Sequence[NodeProto]) -> Iterator[GraphProto]:
    for node in nodes:
        for body in subgraphs(node):
            yield from _inside(body.node)
            yield body


def _needs(nodes: Sequence[NodeProto]) -> dict[int, set[int]]:
    writer = {name: k for k, node in enumerate(nodes) for name in node.output if name}
    return {
        k: {writer[name] for name in (*node.input, *captured(node)) if name in writer}
        for k, node in enumerate(nodes)
    }


def _stands(nodes: Sequence[NodeProto]) -> bool:
    return all(max(before, default=-1) < k for k, before in _needs(nodes).items())


def _sort(graph: GraphProto | FunctionProto) -> None:
    """Put each node behind the last of those that it waits for, as early as it stood otherwise."""
    needs = _needs(graph.node)
    try:
        order = list(TopologicalSorter(needs).static_order())
    except CycleError:
        return
    depth: dict[int, tuple[int, int]] = {}
    for k in order:  # a node that waits stands right behind the last one that it waits for
        depth[k] = max([(k, 0), *((a, b + 1) for a, b in (depth[n] for n in needs[k]))])
    nodes = [graph.node[k] for k in sorted(needs, key=lambda k: (depth[k], k))]
    copies = [NodeProto() for _ in nodes]
    for copy, node in zip(copies, nodes, strict=True):
        copy.CopyFrom(node)
    del graph.node[:]
    graph.node.extend(copies)
