"""Norms against numbers worked out by hand, and indifference to the order of the channels."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import onnx
import pytest
from onnx import ModelProto, numpy_helper, parser

from onnxslim_snacs.model.session import SessionConfig
from onnxslim_snacs.scores import CRITERIA
from onnxslim_snacs.scores.criterion import ScoreContext
from tests.harness import read

#: Two branches make the three units of the sum; the rows are their filters.
TWO_BRANCHES = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[N,2] x) => (float[N,2] y)
<float[3,2] a = {3, 4,  0, 0,  -3, -4}, float[3,2] b = {1, 0,  0, 1,  0, -1},
 float[3,2] c = {1, 1,  1, 1,  1, 1}>
{
  p = Gemm<transB = 1>(x, a)
  q = Gemm<transB = 1>(x, b)
  s = Add(p, q)
  y = MatMul(s, c)
}
"""


def scores(model: ModelProto, criterion: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    analysis = read(model)
    context = ScoreContext(analysis, cast(Any, None), SessionConfig())
    (values,) = CRITERIA[criterion].score(context).scores.values()
    return values


@pytest.mark.parametrize("criterion", ["l1", "l2"])
def test_by_hand(criterion: str) -> None:
    """Norms 7 0 7 (or 5 0 5) and 1 1 1, each divided by its mean, then averaged."""
    found = scores(parser.parse_model(TWO_BRANCHES), criterion)
    assert found == pytest.approx([(1.5 + 1) / 2, (0 + 1) / 2, (1.5 + 1) / 2])


def test_orders_differ_where_weights_are_spread() -> None:
    text = TWO_BRANCHES.replace("3, 4,  0, 0,  -3, -4", "3, 3,  5, 0,  1, 0")
    l1, l2 = (scores(parser.parse_model(text), name) for name in ("l1", "l2"))
    assert l1.argmax() == 0
    assert l2.argmax() == 1


@pytest.mark.parametrize("criterion", ["l1", "l2"])
def test_permuted_channels_have_permuted_scores(criterion: str) -> None:
    order = [2, 0, 1]
    model = parser.parse_model(TWO_BRANCHES.replace("0, 0,", "2, 0,"))
    before = scores(model, criterion)
    permuted = onnx.ModelProto()
    permuted.CopyFrom(model)
    for tensor in permuted.graph.initializer:
        array = numpy_helper.to_array(tensor)[order]
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    assert scores(permuted, criterion) == pytest.approx(before[order])


#: Three filters of two weights, 1 and -1 less their zero points, times their scales.
QUANTISED = {
    "a convolution": """
        <ir_version: 8, opset_import: ["" : 17]>
        net (uint8[N,2,1,1] x) => (uint8[N,2,1,1] y)
        <int8[3,2,1,1] a = {1, -1,  5, 3,  2, 2}, float[3] s = {1, 0.5, 3}, int8[3] z = {0, 4, 0},
         int8[2,3,1,1] b = {1, 1, 1, 1, 1, 1}, float one = {1}, uint8 o = {0}, int8 oz = {0}>
        {
          h = QLinearConv(x, one, o, a, s, z, one, o)
          y = QLinearConv(h, one, o, b, one, oz, one, o)
        }""",
    "a product, its scale behind it": """
        <ir_version: 8, opset_import: ["" : 17]>
        net (float[N,2] x) => (float[N,2] y)
        <int8[2,3] a = {1, 5, 2, -1, 3, 2}, float[3] s = {1, 0.5, 3}, int8[3] z = {0, 4, 0},
         float[3,2] b = {1, 1, 1, 1, 1, 1}>
        {
          q, qs, qz = DynamicQuantizeLinear(x)
          i = MatMulInteger(q, a, qz, z)
          f = Cast<to = 1>(i)
          m = Mul(qs, s)
          h = Mul(f, m)
          y = MatMul(h, b)
        }""",
    "ONNX Runtime's quantiser": """
        <ir_version: 8, opset_import: ["" : 17, "com.microsoft" : 1]>
        net (float[N,2] x) => (float[N,2] y)
        <int16[3,2] a = {1, -1, 5, 3, 2, 2}, float[3] s = {1, 0.5, 3}, int16[3] z = {0, 4, 0},
         float[3,2] b = {1, 1, 1, 1, 1, 1}>
        {
          w = com.microsoft.DequantizeLinear<axis = 0>(a, s, z)
          h = Gemm<transB = 1>(x, w)
          y = MatMul(h, b)
        }""",
}


@pytest.mark.parametrize("text", QUANTISED.values(), ids=QUANTISED.keys())
def test_integers_are_read_as_what_they_stand_for(text: str) -> None:
    """Real filters (1, -1), (0.5, -0.5), (6, 6): norms 2, 1, 12 with the mean 5."""
    found = scores(parser.parse_model(text), "l1")
    assert found == pytest.approx([2 / 5, 1 / 5, 12 / 5])


def test_packed_numbers_are_read_by_their_scale() -> None:
    """Blocks of 16 numbers of four bits, zero point 8: row 0 holds 9s and 8s, row 1 eights and 10s.

    Real rows: 8 ones, and 8 twos times the scale 2: norms 8 and 32 with the mean 20.
    """
    text = """
    <ir_version: 8, opset_import: ["" : 17, "com.microsoft" : 1]>
    net (float[N,16] x) => (float[N,2] y) <float[2,2] b = {1, 1, 1, 1}> {
      h = com.microsoft.MatMulNBits<K = 16, N = 2, bits = 4, block_size = 16>(x, a, s)
      y = MatMul(h, b)
    }"""
    model = parser.parse_model(text)
    packed = np.array([[[0x89] * 8], [[0xA8] * 8]], dtype=np.uint8)
    scale = np.array([[1.0], [2.0]], dtype=np.float32)
    for name, value in (("a", packed), ("s", scale)):
        model.graph.initializer.append(numpy_helper.from_array(value, name))
    assert scores(model, "l1") == pytest.approx([8 / 20, 32 / 20])
