"""Read-only index over an ONNX graph: who writes and who reads each tensor."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, numpy_helper

from onnxslim_snacs.model.mapped import tensor_array


@dataclass(frozen=True)
class ModelGraph:
    """A model's top-level graph, indexed.

    Attributes:
        proto: the model; not to be changed.
        base_dir: the folder against which external data is resolved.
        infinite: stored tensors with infinite values, which are a fault in trained numbers.
    """

    proto: ModelProto
    base_dir: Path | None = None
    infinite: frozenset[str] = frozenset()

    @property
    def graph(self) -> GraphProto:
        """The top-level graph."""
        return self.proto.graph

    @cached_property
    def nodes(self) -> tuple[NodeProto, ...]:
        """The nodes in the file's (topological) order."""
        return tuple(self.graph.node)

    @cached_property
    def initializers(self) -> dict[str, TensorProto]:
        """Initializers by name."""
        return {tensor.name: tensor for tensor in self.graph.initializer}

    @cached_property
    def inputs(self) -> tuple[str, ...]:
        """Names of the inputs that the user feeds (initializers listed as inputs are not)."""
        return tuple(v.name for v in self.graph.input if v.name not in self.initializers)

    @cached_property
    def outputs(self) -> tuple[str, ...]:
        """Names of the outputs."""
        return tuple(v.name for v in self.graph.output)

    @cached_property
    def made(self) -> frozenset[str]:
        """Names of all tensors that the graph stores or writes itself."""
        return frozenset(self.initializers).union(self.producer)

    @cached_property
    def producer(self) -> dict[str, int]:
        """Tensor -> position of the node that writes it."""
        return {name: k for k, node in enumerate(self.nodes) for name in node.output if name}

    @cached_property
    def consumers(self) -> dict[str, tuple[int, ...]]:
        """Tensor -> positions of the nodes that read it, bodies of control flow included."""
        readers: dict[str, list[int]] = {}
        for k, node in enumerate(self.nodes):
            for name in dict.fromkeys((*node.input, *captured(node))):
                if name:
                    readers.setdefault(name, []).append(k)
        return {name: tuple(positions) for name, positions in readers.items()}

    @cached_property
    def opsets(self) -> dict[str, int]:
        """Operator-set version by domain ("" for ONNX's own)."""
        return {
            ("" if o.domain == "ai.onnx" else o.domain): o.version for o in self.proto.opset_import
        }

    def array(self, name: str) -> NDArray[Any]:
        """Value of an initializer.

        Raises:
            KeyError: no initializer has that name.
        """
        return tensor_array(self.initializers[name], self.base_dir)


def node_constant(node: NodeProto) -> NDArray[Any] | None:
    """Value of a Constant node, None if it holds no numeric tensor."""
    for attribute in node.attribute:
        if attribute.name == "value":
            return numpy_helper.to_array(attribute.t)
        if attribute.name == "value_float":
            return np.array(attribute.f, dtype=np.float32)
        if attribute.name == "value_int":
            return np.array(attribute.i, dtype=np.int64)
        if attribute.name == "value_floats":
            return np.array(attribute.floats, dtype=np.float32)
        if attribute.name == "value_ints":
            return np.array(attribute.ints, dtype=np.int64)
    return None


def subgraphs(node: NodeProto) -> Iterable[GraphProto]:
    """The bodies of a control-flow node."""
    for attribute in node.attribute:
        if attribute.type == AttributeProto.GRAPH:
            yield attribute.g
        elif attribute.type == AttributeProto.GRAPHS:
            yield from attribute.graphs


def captured(node: NodeProto) -> tuple[str, ...]:
    """Names that the bodies of a node read from the graph around it."""
    names: dict[str, None] = {}
    for body in subgraphs(node):
        own = {v.name for v in body.input} | {t.name for t in body.initializer}
        for inner in body.node:
            for name in (*inner.input, *captured(inner)):
                if name and name not in own:
                    names[name] = None
            own.update(inner.output)
        names.update((v.name, None) for v in body.output if v.name not in own)
    return tuple(names)


def stored(graph: ModelGraph, name: str) -> NDArray[Any] | None:
    """The value of an initializer or of a Constant node; None for anything else."""
    if name in graph.initializers:
        return graph.array(name)
    position = graph.producer.get(name)
    if position is None or graph.nodes[position].op_type != "Constant":
        return None
    return node_constant(graph.nodes[position])
