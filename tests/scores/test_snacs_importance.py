"""Importance through two layers and a residual stream, worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from onnxslim_snacs.ir.types import Axis
from onnxslim_snacs.layers.pairs import layer_pairs
from onnxslim_snacs.ops.analyse import Analysis
from onnxslim_snacs.scores.snacs.importance import axis_importance, unit_scores
from tests.harness import model_from_text, read

HEAD = '<ir_version: 8, opset_import: ["" : 17]>\n'
#: a has three units, b has two; y ranks two classes.
CHAIN = (
    HEAD
    + """net (float[N,4] x, float[4,3] w_a, float[3,2] w_b, float[2,2] w_c) => (float[N,2] y) {
  a = MatMul(x, w_a)  r = Relu(a)  b = MatMul(r, w_b)  s = Relu(b)  y = MatMul(s, w_c)
}"""
)
#: The units of a are read by b, and beside it by y.
STREAM = (
    HEAD
    + """net (float[N,4] x, float[4,2] w_a, float[2,2] w_b, float[2,2] w_c) => (float[N,2] y) {
  a = MatMul(x, w_a)  b = MatMul(a, w_b)  s = Add(a, b)  y = MatMul(s, w_c)
}"""
)
Table = list[list[float]]


def importance(
    text: str, rho: dict[str, Table]
) -> tuple[Analysis, dict[Axis, NDArray[np.float64]], list[Axis]]:
    """Of every axis, for connectivity (child, parent) of the layers by their outputs."""
    analysis = read(model_from_text(text))
    pairs = [pair for pair in layer_pairs(analysis) if pair.out.tensor in rho]
    tables = {(pair.node, pair.data): np.array(rho[pair.out.tensor]) for pair in pairs}
    return analysis, axis_importance(analysis, tables), [pair.data for pair in pairs]


def test_two_layers() -> None:
    """Both classes count 1/2.

    y: rows (1, 3) and (1, 1) share what they have as (1/4, 3/4) and (1/2, 1/2), which gives the
    units of b 1/8 + 1/4 = 3/8 and 3/8 + 1/4 = 5/8.
    b: rows (2, 1, 1) and (0, 1, 3) share it as (1/2, 1/4, 1/4) and (0, 1/4, 3/4), which gives those
    of a 3/16, 3/32 + 5/32 = 1/4, and 3/32 + 15/32 = 9/16.
    """
    rho: dict[str, Table] = {"y": [[1, 3], [1, 1]], "b": [[2, 1, 1], [0, 1, 3]]}
    analysis, values, sinks = importance(CHAIN, rho)
    assert values[Axis("y", 1)] == pytest.approx([1 / 2, 1 / 2])
    assert values[Axis("s", 1)] == pytest.approx([3 / 8, 5 / 8])
    assert values[Axis("r", 1)] == pytest.approx([3 / 16, 1 / 4, 9 / 16])
    first, second = (unit_scores(group, sinks, values) for group in analysis.ir.groups)
    assert first == pytest.approx([3 / 16, 1 / 4, 9 / 16])
    assert second == pytest.approx([3 / 8, 5 / 8])


def test_a_stream_counts_through_every_layer_that_reads_it() -> None:
    """y shares 1/2 and 1/2 as (1/4, 3/4) and (1/2, 1/2): the stream is worth 3/8 and 5/8.

    Of that, b hands 3/8 on as (1, 0) and 5/8 as (1/5, 4/5), which is 3/8 + 1/8 and 4/8, and the sum
    hands 3/8 and 5/8 on as they are.  A unit counts where y reads it, and where b does.
    """
    rho: dict[str, Table] = {"y": [[1, 3], [1, 1]], "b": [[2, 0], [1, 4]]}
    analysis, values, sinks = importance(STREAM, rho)
    assert values[Axis("s", 1)] == pytest.approx([3 / 8, 5 / 8])
    (group,) = analysis.ir.groups
    assert values[Axis("a", 1)] == pytest.approx([7 / 8, 9 / 8])
    assert unit_scores(group, sinks, values) == pytest.approx([3 / 8 + 7 / 8, 5 / 8 + 9 / 8])


def test_a_layer_that_nothing_joins_hands_nothing_on() -> None:
    _, values, _ = importance(CHAIN, {"y": [[0, 0], [0, 0]], "b": [[1, 1, 1], [1, 1, 1]]})
    assert values[Axis("s", 1)].tolist() == [0, 0]
    assert values[Axis("r", 1)].tolist() == [0, 0, 0]
