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
