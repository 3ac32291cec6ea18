"""Which stored tensors the nodes of a model read as trained numbers."""

from __future__ import annotations

from collections.abc import Iterator

from onnx import NodeProto

from onnxslim_snacs.errors import InputRefused
from onnxslim_snacs.model.graph import ModelGraph
from onnxslim_snacs.model.stored import all_nodes
from onnxslim_snacs.model.weights import not_finite
from onnxslim_snacs.ops import OPERATORS
from onnxslim_snacs.ops.node import op_key


def trained_inputs(node: NodeProto) -> Iterator[str]:
    """What a node reads as its trained numbers, stored or not."""
    rule = OPERATORS.get(op_key(node))
    if rule is not None and rule.weight is not None:
        places = rule.weight.inputs
        yield from (n for k, n in enumerate(node.input) if n and (places is None or k in places))


def check_trained(graph: ModelGraph, infinite: frozenset[str]) -> None:
    """Refuse infinite weights.

    Args:
        graph: the model, without local functions.
        infinite: its stored tensors that hold infinite values.

    Raises:
        InputRefused: a node reads one of them as its trained numbers.
    """
    for node in all_nodes(graph.graph.node) if infinite else ():
        for name in trained_inputs(node):
            if name in infinite:
                raise InputRefused(not_finite(name, "infinite values"))
