"""Constants in other types: what they stand for, and what is stored for given numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, parser

from onnxslim_snacs.layers.typed import growth, in_type, real_constant, typed
from onnxslim_snacs.model.graph import ModelGraph

QUANTISED = """
<ir_version: 10, opset_import: ["" : 21]>
net (float[N,2] x) => (float[N,3] y)
<int8[3,2] w = {1, -1,  5, 3,  2, 127}, float[3] s = {1, 0.5, 3}, int8[3] z = {0, 4, 0}>
{
  r = DequantizeLinear<axis = 0>(w, s, z)
  t = Transpose(r)
  y = MatMul(x, t)
}"""
#: What the numbers of QUANTISED stand for, transposed.
REAL = np.array([[1, 0.5, 6], [-1, -0.5, 381]], dtype=np.float32)


def rounded(graph: ModelGraph, name: str, value: NDArray[Any]) -> NDArray[Any] | None:
    """What comes out of what is stored for some numbers."""
    place = typed(graph, name)
    assert place is not None
    return real_constant(graph, name, in_type(graph, place, value))


def graph_of(text: str) -> ModelGraph:
    return ModelGraph(parser.parse_model(text))


def test_numbers_come_out_less_their_zero_point_times_their_scale() -> None:
    np.testing.assert_array_equal(real_constant(graph_of(QUANTISED), "t"), REAL)


def test_numbers_go_back_to_the_nearest_that_the_type_has() -> None:
    """1.4 -> 1, -1.6 -> -2; .3 / .5 + 4 -> 5, 100 / .5 + 4 -> 127; 4.4 / 3 -> 1, -500 -> -128."""
    graph = graph_of(QUANTISED)
    place = typed(graph, "t")
    assert place is not None
    assert place.name == "w"
    wanted = np.array([[1.4, 0.3, 4.4], [-1.6, 100, -500]], dtype=np.float32)
    found = in_type(graph, place, wanted)["w"]
    assert found.dtype == np.int8
    np.testing.assert_array_equal(found, [[1, -2], [5, 127], [1, -128]])
    np.testing.assert_array_equal(rounded(graph, "t", wanted), [[1, 0.5, 3], [-2, 61.5, -384]])


def test_blocks_of_neighbours_have_a_scale_each() -> None:
    graph = graph_of("""
    <ir_version: 10, opset_import: ["" : 21]>
    net (float[N,4] x) => (float[N,1] y)
    <int8[4,1] w = {1, 2, 3, 4}, float[2,1] s = {1, 10}>
    {
      t = DequantizeLinear<axis = 0, block_size = 2>(w, s)
      y = MatMul(x, t)
    }""")
    np.testing.assert_array_equal(real_constant(graph, "t"), [[1], [2], [30], [40]])
    wanted = np.array([[1.6], [0], [26], [-31]], dtype=np.float32)
    np.testing.assert_array_equal(rounded(graph, "t", wanted), [[2], [0], [30], [-30]])


def bfloat16() -> ModelProto:
    weight = helper.make_tensor("w", TensorProto.BFLOAT16, [2, 2], [1.0, -2.0, 0.5, 4.0])
    info = helper.make_tensor_value_info
    nodes = [
        helper.make_node("Cast", ["w"], ["t"], to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["x", "t"], ["y"]),
    ]
    x, y = (info(name, TensorProto.FLOAT, ["N", 2]) for name in ("x", "y"))
    graph = helper.make_graph(nodes, "net", [x], [y], [weight])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])


def test_bfloat16_keeps_eight_bits_of_the_fraction() -> None:
    graph = ModelGraph(bfloat16())
    np.testing.assert_array_equal(real_constant(graph, "t"), [[1, -2], [0.5, 4]])
    wanted = np.array([[1.001, 1 + 2**-7], [3, -5]], dtype=np.float32)
    np.testing.assert_array_equal(rounded(graph, "t", wanted), [[1, 1 + 2**-7], [3, -5]])


@pytest.mark.parametrize("node", ["z = Transpose(w)", "z = Identity(r)", "z = Cast<to = 1>(w)"])
def test_what_others_read_on_the_way_is_left_alone(node: str) -> None:
    text = QUANTISED.replace("y = MatMul(x, t)", f"y = MatMul(x, t)\n  {node}")
    assert typed(graph_of(text), "t") is None


def test_what_is_computed_otherwise_is_no_constant_of_the_file() -> None:
    text = QUANTISED.replace("t = Transpose(r)", "q = Exp(r)\n  t = Transpose(q)")
    assert typed(graph_of(text), "t") is None


def test_a_scale_grows_with_the_largest_number_of_its_channel() -> None:
    """Room of 127 (less the zero point 4: 123) above, 128 (132) below, times scales 1, 0.5, 3."""
    graph = graph_of(QUANTISED)
    place = typed(graph, "t")
    assert place is not None
    wanted = np.array([[254, 0.3, 4.4], [-1.6, 123, -1152]], dtype=np.float32)
    factor = growth(graph, place, wanted)
    assert factor == pytest.approx([2, 2, 3])
    scale = np.array([1, 0.5, 3], dtype=np.float32) * factor.astype(np.float32)
    stored = in_type(graph, place, wanted, scale)
    np.testing.assert_array_equal(stored["w"], [[127, -1], [4, 127], [0, -128]])
    found = real_constant(graph, "t", stored)
    np.testing.assert_array_equal(found, [[254, 0, 0], [-2, 123, -1152]])
