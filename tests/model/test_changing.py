"""What changes with the input although no run has shown it."""

from __future__ import annotations

import numpy as np
import pytest

from onnxslim_snacs.model import settle
from onnxslim_snacs.model.extents import InputExtents
from onnxslim_snacs.model.graph import ModelGraph
from onnxslim_snacs.model.reading import read_facts
from onnxslim_snacs.model.session import SessionConfig, create_session
from onnxslim_snacs.model.settle import Settled
from onnxslim_snacs.model.trial import Trial
from onnxslim_snacs.ops.analyse import analyse
from onnxslim_snacs.passes.prune import prune
from onnxslim_snacs.proof.oracle import masked_original
from onnxslim_snacs.proof.prove import prove
from tests.harness import model_from_text, random_keep

HEAD = '<ir_version: 8, opset_import: ["" : 17]>\n'

COUNTED = """net (float[B,S,4] x, float[4,6] w_a, float[6,3] w_b) => (float[B,S,3] y)
  <int64[1] one = {1}, int64[1] more = {63}, int64[1] size = {64}, int64[1] twelve = {12}> {
  shape = Shape(x)
  s = Gather(shape, one)
  up = Add(s, more)
  count = Div(up, size)
  least = Min(s, count)
  both = Concat<axis = 0>(count, twelve)
  doubled = Mul(s, size)
  same = Div(doubled, s)
  f = Cast<to = 1>(count)
  a = MatMul(x, w_a)
  b = Mul(a, f)
  y = MatMul(b, w_b)
}"""

SPLIT = """net (float[N,H,6] x, float[6,8] w_a, float[8,3] w_b, float[9,6] w_t) => (float[N,H,3] y)
  <int64[4] split = {0, 0, 2, 4}, int64[3] merge = {0, 0, 8}, int64[1] zero = {0},
   int64[1] one = {1}> {
  shape = Shape(x)
  h = Gather(shape, one)
  t = Slice(w_t, zero, h, zero)
  z = Add(x, t)
  a = MatMul(z, w_a)
  r = Reshape(a, split)
  u = Relu(r)
  m = Reshape(u, merge)
  y = MatMul(m, w_b)
}"""


def test_what_is_rounded_is_no_constant_though_all_runs_agree() -> None:
    facts = read_facts(ModelGraph(model_from_text(HEAD + COUNTED)))
    assert [run["count"].tolist() for run in facts.values] == [[1], [1], [1]]
    assert facts.value("count") is None
    assert facts.value("least") is None
    assert facts.value("f") is None
    assert facts.partial("both") == (None, 12)
    same = facts.value("same")  # nothing is left over in any run: 64 whatever the steps
    assert same is not None
    assert same.tolist() == [64]


@pytest.fixture
def stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if no model ran at another size."""

    def alone(bench: object, layout: InputExtents, first: Trial) -> Settled:
        return Settled(layout, (first,), frozenset(layout.symbols()))

    monkeypatch.setattr(settle, "_varied", alone)


@pytest.mark.usefixtures("stuck")
def test_what_was_seen_at_one_size_counts_as_changing() -> None:
    """Extents that weights spell out are proved; the rest of what one run says is not believed."""
    analysis = analyse(ModelGraph(model_from_text(HEAD + SPLIT)))
    facts = analysis.facts
    assert facts.samples("x") == ((2, 8, 6),)
    assert facts.shape("x") == (None, None, 6)
    assert facts.value("h") is None
    assert facts.shape("a") == (None, None, 8)
    keep = random_keep(analysis, 0.5, 1)
    pruned = prune(analysis, keep)
    proof = prove(analysis, keep, pruned)
    assert proof.passed, proof.failure
    assert proof.unvaried == ("x[0] (N)", "x[1] (H)")
    masked = masked_original(analysis, keep)
    whole, cut = (create_session(m, SessionConfig(level=0)) for m in (masked, pruned))
    for steps in (1, 3, 9):  # rows of the table that the one run has not read are still there
        x = np.ones((4, steps, 6), np.float32)
        for a, b in zip(whole.run(None, {"x": x}), cut.run(None, {"x": x}), strict=True):
            np.testing.assert_array_equal(a, b)
    assert all(g.units != 9 for g in analysis.ir.groups)
