"""Weights that a file computes: cut as they come out, left alone where nothing is cut."""

from __future__ import annotations

import numpy as np

from onnxslim_snacs.ir.keep import keep_map
from onnxslim_snacs.passes.prune import prune
from tests.harness import model_from_text, read, run

NORMALISED = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[1,3] x, float[6,3] w_a, float[6,1] w_g, float[4,6] w_b, float[2,4] w_c)
    => (float[1,2] y) {
  n = ReduceL2<axes=[1]>(w_a)
  d = Div(w_a, n)
  f = Mul(d, w_g)
  a = Gemm<transB=1>(x, f)
  b = Gemm<transB=1>(a, w_b)
  m = ReduceL2<axes=[1]>(w_c)
  e = Div(w_c, m)
  y = Gemm<transB=1>(b, e)
}
"""


def test_what_is_cut_is_stored_and_what_is_not_is_computed_as_before() -> None:
    model = model_from_text(NORMALISED)
    analysis = read(model)
    assert [fold.name for fold in analysis.folds] == ["f", "e"]
    kept = {group.id: np.arange(group.units) != 1 for group in analysis.ir.groups}
    (a,) = (g for g in analysis.ir.groups if g.units == 6)
    cut = prune(analysis, keep_map(analysis.ir, {a.id: kept[a.id]}))
    assert [node.op_type for node in cut.graph.node] == ["Gemm", "Gemm", "ReduceL2", "Div", "Gemm"]
    assert sorted(t.name for t in cut.graph.initializer) == ["f", "w_b", "w_c"]
    rows = np.delete(np.arange(6), 1)
    stored = {t.name: np.array(t.dims) for t in cut.graph.initializer}
    assert stored["f"].tolist() == [5, 3]
    direction = read(model).graph.array("f")[rows]
    plain = {t.name: t for t in model.graph.initializer}
    v = np.frombuffer(plain["w_a"].raw_data, np.float32).reshape(6, 3)
    g = np.frombuffer(plain["w_g"].raw_data, np.float32).reshape(6, 1)
    wanted = (v / np.linalg.norm(v, axis=1, keepdims=True) * g)[rows]
    np.testing.assert_allclose(direction, wanted, rtol=1e-6)


def test_the_computed_weights_are_the_ones_that_the_nodes_compute() -> None:
    model = model_from_text(NORMALISED)
    analysis = read(model)
    feeds = {"x": np.array([[1, -2, 3]], dtype=np.float32)}
    (before,), (after,) = run(model, feeds, 0), run(analysis.graph.proto, feeds, 0)
    np.testing.assert_allclose(after, before, rtol=1e-6)
