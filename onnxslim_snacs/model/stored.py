"""Walks over everything in a model: nodes and stored tensors, wherever they are nested."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto

from onnxslim_snacs.model.graph import subgraphs


def all_nodes(nodes: Iterable[NodeProto]) -> Iterator[NodeProto]:
    """The nodes and those of the bodies within them."""
    for node in nodes:
        yield node
        for body in subgraphs(node):
            yield from all_nodes(body.node)


def every_node(model: ModelProto) -> Iterator[NodeProto]:
    """All nodes: of the graph, of the functions, and of the bodies within."""
    yield from all_nodes(model.graph.node)
    for function in model.functions:
        yield from all_nodes(function.node)


def stored_tensors(model: ModelProto) -> Iterator[tuple[NodeProto | None, TensorProto]]:
    """All tensors of a model with the node that owns them, None for a graph's initializer."""
    yield from ((None, tensor) for tensor in _initializers(model.graph))
    for node in every_node(model):
        for attribute in node.attribute:
            yield from ((node, tensor) for tensor in _attribute_tensors(attribute))
            for body in (attribute.g, *attribute.graphs):
                yield from ((None, tensor) for tensor in _initializers(body))


def _initializers(graph: GraphProto) -> Iterable[TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)


def _attribute_tensors(attribute: AttributeProto) -> Iterable[TensorProto]:
    if attribute.HasField("t"):
        yield attribute.t
    yield from attribute.tensors
    for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
        if sparse.HasField("values"):
            yield from (sparse.values, sparse.indices)
