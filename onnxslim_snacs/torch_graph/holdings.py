"""What a graph stores, bodies included: initializers and Constant nodes, each under its name."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from onnx import AttributeProto, GraphProto, NodeProto, TensorProto, helper, numpy_helper

from onnxslim_snacs.errors import InputRefused, foreign
from onnxslim_snacs.model.graph import node_constant, subgraphs
from onnxslim_snacs.model.mapped import tensor_array
from onnxslim_snacs.torch_graph.call import torch_type
from onnxslim_snacs.torch_graph.late import torch

if TYPE_CHECKING:
    from torch import Tensor

_LISTS = {"value_float": TensorProto.FLOAT, "value_floats": TensorProto.FLOAT}


@dataclass(frozen=True, slots=True)
class Stored:
    """A stored value.

    Attributes:
        name: in its graph.
        key: in the whole model: the name, with a number behind it where bodies use it again.
        kind: its element type.
        tensor: where it lies, None for a number or a list of numbers in an attribute.
        node: the Constant node that holds it, None for an initializer.
    """

    name: str
    key: str
    kind: int
    tensor: TensorProto | None
    node: NodeProto | None

    def array(self, base_dir: Path | None) -> NDArray[Any]:
        """Its value.

        Raises:
            InputRefused: it holds no numbers.
        """
        value = None
        if self.tensor is not None and self.tensor.data_type != TensorProto.STRING:
            value = tensor_array(self.tensor, base_dir)
        elif self.node is not None and self.tensor is None:
            value = node_constant(self.node)
        if value is None:
            raise InputRefused(f"constant {foreign(self.name)} holds no numbers: torch has none")
        return value

    def put(self, array: NDArray[Any]) -> None:
        """Replace the value, in the type in which it is stored."""
        if self.tensor is not None:
            dtype = helper.tensor_dtype_to_np_dtype(self.kind)
            fresh = numpy_helper.from_array(array.astype(dtype), self.tensor.name)
            fresh.doc_string = self.tensor.doc_string
            self.tensor.CopyFrom(fresh)
        elif self.node is not None:
            (attribute,) = self.node.attribute
            attribute.floats[:] = array.reshape(-1).tolist()


def stored_values(graph: GraphProto) -> Iterator[tuple[GraphProto, Stored]]:
    """Every stored value with the graph that holds it, in an order that only depends on the file.

    Raises:
        InputRefused: a value is sparse.
    """
    taken: dict[str, int] = {}
    for owner, name, kind, tensor, node in _walk(graph):
        number = taken.get(name, 0)
        taken[name] = number + 1
        yield owner, Stored(name, f"{name}#{number}" if number else name, kind, tensor, node)


def _walk(
    graph: GraphProto,
) -> Iterator[tuple[GraphProto, str, int, TensorProto | None, NodeProto | None]]:
    if graph.sparse_initializer:
        name = graph.sparse_initializer[0].values.name
        raise InputRefused(f"initializer {foreign(name)} is sparse, which torch does not run")
    for tensor in graph.initializer:
        yield graph, tensor.name, tensor.data_type, tensor, None
    for node in graph.node:
        if is_constant(node):
            (attribute,) = node.attribute
            if attribute.type == AttributeProto.TENSOR:
                yield graph, node.output[0], attribute.t.data_type, attribute.t, node
            else:
                kind = _LISTS.get(attribute.name, TensorProto.INT64)
                yield graph, node.output[0], kind, None, node
        for body in subgraphs(node):
            yield from _walk(body)


def is_constant(node: NodeProto) -> bool:
    """Whether a node is a constant that is stored in it."""
    return node.op_type == "Constant" and node.domain in ("", "ai.onnx")


def to_tensor(array: NDArray[Any], precision: str = "float32", device: str = "cpu") -> Tensor:
    """An array as torch holds it: floats in the precision and on the device of the weights.

    Raises:
        InputRefused: torch has no such numbers.
    """
    kind = torch_type(helper.np_dtype_to_tensor_dtype(array.dtype), precision)
    plain = array.astype(str(kind).removeprefix("torch."))
    found: Tensor = torch.from_numpy(np.ascontiguousarray(plain).reshape(plain.shape))
    return found.to(device) if found.is_floating_point() else found


def to_array(value: Tensor) -> NDArray[Any]:
    """A tensor as an array."""
    found: NDArray[Any] = value.detach().cpu().numpy()
    return found
