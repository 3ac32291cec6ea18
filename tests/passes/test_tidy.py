"""Removal of what nobody reads: models in ONNX text, before and after."""

from __future__ import annotations

import pytest
from onnx import parser

from onnxslim_snacs.passes.tidy import remove_dead_nodes

CHAIN = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[4] x) => (float[4] y)
<float[4] w = {1, 2, 3, 4}, float[4] v = {1, 2, 3, 4}>
{
  a = Mul(w, v)
  b = Neg(a)
  y = Add(x, w)
}
"""
SPLIT = """
<ir_version: 8, opset_import: ["" : 13]>
net (float[4] x) => (float[4] y)
<float[4] w = {1, 2, 3, 4}, int64[2] s = {2, 2}>
{
  a, b = Split<axis=0>(w, s)
  c = Neg(w)
  y = Add(x, c)
}
"""


@pytest.mark.parametrize(
    ("text", "suspects", "nodes", "initializers"),
    [
        (CHAIN, set(), ["Mul", "Neg", "Add"], ["w", "v"]),  # dead before the cut: stays
        (CHAIN, {"b"}, ["Add"], ["w"]),
        (CHAIN, {"a"}, ["Mul", "Neg", "Add"], ["w", "v"]),  # still read
        (CHAIN, {"y"}, ["Mul", "Neg", "Add"], ["w", "v"]),  # a graph output
        (SPLIT, {"a"}, ["Neg", "Add"], ["w"]),
        (SPLIT, {"a", "b"}, ["Neg", "Add"], ["w"]),  # a node dies once
    ],
)
def test_what_is_left(
    text: str, suspects: set[str], nodes: list[str], initializers: list[str]
) -> None:
    model = parser.parse_model(text)
    remove_dead_nodes(model, suspects)
    assert [node.op_type for node in model.graph.node] == nodes
    assert [tensor.name for tensor in model.graph.initializer] == initializers
