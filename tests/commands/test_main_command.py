"""The main command, `compress MODEL --data D --target macs=...`, on all that a ratio can cut."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto

from onnxslim_snacs.commands.compress import compress
from onnxslim_snacs.config import CompressConfig, DataConfig
from onnxslim_snacs.errors import NothingToPrune
from onnxslim_snacs.ir.keep import KeepMap, keep_map
from onnxslim_snacs.ops.analyse import Analysis
from onnxslim_snacs.plan.cost import cost_model
from onnxslim_snacs.report.report import Report
from tests.harness import Fixture, fixtures, integer_feeds, model_from_text, read

#: The least that the scores of SNACS are made from is eight; a quarter is held out.
SAMPLES = 12


def samples_for(model: ModelProto, path: Path) -> Path:
    """A few samples as the fixture takes them, stacked along a new first dimension."""
    analysis = read(model)
    sets = [integer_feeds(analysis, seed) for seed in range(SAMPLES)]
    stacked: Any = {name: np.stack([one[name] for one in sets]) for name in sets[0]}
    np.savez(path, **stacked)
    return path


def main_command(path: Path, macs: float, **options: Any) -> Report:
    """Cut a model whose samples lie beside it."""
    data = DataConfig(str(path.with_suffix(".npz")))
    return compress(path, CompressConfig(data=data, target={"macs": macs}, **options)).report


def written(model: ModelProto, folder: Path) -> Path:
    """The file of a model, with samples made for it."""
    onnx.save(model, folder / "model.onnx")
    samples_for(model, folder / "model.npz")
    return folder / "model.onnx"


def half_way(analysis: Analysis) -> float:
    """Half way from all multiply-accumulates to the least that can be left; 1 if none can go."""
    costs = cost_model(analysis)
    one = {g.id: np.arange(g.units) == 0 for g in analysis.ir.groups}
    whole = costs.cost(KeepMap({})).macs
    return 1.0 if not whole else 0.5 + costs.cost(keep_map(analysis.ir, one)).macs / (2 * whole)


@pytest.mark.parametrize("fixture", fixtures(), ids=lambda f: f.title)
def test_every_fixture_goes_through(fixture: Fixture, tmp_path: Path) -> None:
    """It is cut, or there is nothing to cut: nothing else that a rule lets through may stop it."""
    share = half_way(read(fixture.model, allow_inexact=fixture.allow_inexact))
    path = written(fixture.model, tmp_path)
    if share == 1.0:
        with pytest.raises(NothingToPrune):
            main_command(path, 0.9, allow_inexact=fixture.allow_inexact)
        return
    report = main_command(path, share, allow_inexact=fixture.allow_inexact, tries=1)
    assert report.proof is not None
    assert report.proof.passed
    assert report.after.macs <= share * report.before.macs
    assert report.drift is not None


HEAD = '<ir_version: 8, opset_import: ["" : 17]>\n'

TABLE = """net (float[N,5] x, float[1,7] w_table, float[7,12] w_a, float[5,12] w_b, float[12,3] w_c)
=> (float[N,3] y) {
  a = MatMul(w_table, w_a)
  b = MatMul(x, w_b)
  s = Add(a, b)
  r = Relu(s)
  y = MatMul(r, w_c)
}"""
QUERIES = """net (float[N,4,6] x, float[5,6] w_q, float[6,12] w_a, float[6,12] w_b, float[12,6] w_c,
  float[6,2] w_d) => (float[N,5,2] y) {
  h = MatMul(w_q, w_a)
  r = Relu(h)
  q = MatMul(r, w_c)
  k = Transpose<perm = [0, 2, 1]>(x)
  p = MatMul(q, k)
  t = Softmax<axis = 2>(p)
  m = MatMul(t, x)
  u = MatMul(m, w_b)
  v = Relu(u)
  o = MatMul(v, w_c)
  y = MatMul(o, w_d)
}"""
SUMS = """net (float[N,5,6] x, float[6,4,3] w_a, float[4,3,7] w_b, float[7,2] w_c)
=> (float[N,5,2] y) {
  a = Einsum<equation = "bsd,dhe->bshe">(x, w_a)
  b = Relu(a)
  c = Einsum<equation = "bshe,heo->bso">(b, w_b)
  d = Relu(c)
  y = MatMul(d, w_c)
}"""
HALF = """net (float[N,5] x, float16[5,12] w_a, float16[12,8] w_b, float[8,3] w_c)
=> (float[N,3] y) {
  x16 = Cast<to = 10>(x)
  a = MatMul(x16, w_a)
  b = Relu(a)
  c = MatMul(b, w_b)
  d = Cast<to = 1>(c)
  e = Relu(d)
  y = MatMul(e, w_c)
}"""
BRAIN = """net (float[N,5] x, bfloat16[5,12] w_a, bfloat16[12,3] w_b) => (float[N,3] y) {
  w32 = Cast<to = 1>(w_a)
  v32 = Cast<to = 1>(w_b)
  a = MatMul(x, w32)
  b = Relu(a)
  y = MatMul(b, v32)
}"""
SIZES = """net (float[N,3,8,8] x, float[16,3,3,3] w_a, float[16,16,3,3] w_b, float[4,16] w_c)
=> (float[N,4] y) <int64[4] stored = {1, 16, 8, 8}, float[1,16,4,4] grid = {GRID}> {
  to = Identity(stored)
  a = Conv<pads = [1, 1, 1, 1]>(x, w_a)
  r = Relu(a)
  g = Resize<mode = "nearest">(grid, , , to)
  s = Add(r, g)
  b = Conv<pads = [1, 1, 1, 1]>(s, w_b)
  h = Relu(b)
  g2 = Resize<mode = "nearest">(grid, , , to)
  t = Add(h, g2)
  p = GlobalAveragePool(t)
  f = Flatten(p)
  wt = Transpose<perm = [1, 0]>(w_c)
  y = MatMul(f, wt)
}"""
SEQUENCE = """net (float[N,6] x, float[6,16] w_a, float[8,5] w_b, float[8,5] w_c, float[5,2] w_d)
=> (float[N,2] y) <int64[2] parts = {8, 8}, int64 zero = {0}, int64 one = {1}> {
  a = MatMul(x, w_a)
  r = Relu(a)
  s = SplitToSequence<axis = 1>(r, parts)
  b = SequenceAt(s, zero)
  c = SequenceAt(s, one)
  d = MatMul(b, w_b)
  e = MatMul(c, w_c)
  f = Add(d, e)
  g = Relu(f)
  y = MatMul(g, w_d)
}"""
KINDS = {
    "a layer fed by a constant": TABLE,
    "queries that are the same for every sample": QUERIES,
    "a node that sums over two axes": SUMS,
    "half precision inside": HALF,
    "weights stored as bfloat16": BRAIN,
    "a shape behind Identity": SIZES.replace("GRID", ", ".join(["0.5"] * 256)),
    "sequences between layers": SEQUENCE,
}


@pytest.mark.parametrize("criterion", ["snacs", "refit", "l1"])
@pytest.mark.parametrize("text", KINDS.values(), ids=list(KINDS))
def test_kinds_of_models(text: str, criterion: str, tmp_path: Path) -> None:
    model = model_from_text(HEAD + text, integers=False)
    path = written(model, tmp_path)
    share = half_way(read(model))
    assert share < 0.9
    report = main_command(path, share, criterion=criterion)
    assert report.proof is not None
    assert report.proof.passed
    assert report.after.macs <= share * report.before.macs


LATE = """net (float[N,T,6] x, float[6,12] w_a, float[12,3] w_b) => (float[N,U,3] y)
<int64[1] eight = {8}, int64[1] far = {1000}, int64[1] one = {1}> {
  late = Slice(x, eight, far, one)
  a = MatMul(late, w_a)
  r = Relu(a)
  y = MatMul(r, w_b)
}"""


def test_no_rows_at_one_size_are_not_no_work(tmp_path: Path) -> None:
    """Of eight steps nothing is left behind the first eight; of twelve four are."""
    model = model_from_text(HEAD + LATE, integers=False)
    analysis = read(model)
    empty: dict[str, tuple[int, ...]]
    full: dict[str, tuple[int, ...]]
    empty, full = {"late": (2, 0, 6), "x": (2, 8, 6)}, {"late": (2, 4, 6), "x": (2, 12, 6)}
    assert replace(analysis.facts, shapes=(empty, full)).fullest == 1
    assert replace(analysis.facts, shapes=(full, empty)).fullest == 0
    onnx.save(model, tmp_path / "model.onnx")
    np.savez(tmp_path / "model.npz", x=np.random.default_rng(0).standard_normal((12, 12, 6)))
    report = main_command(tmp_path / "model.onnx", 0.6)
    assert 0 < report.after.macs <= 0.6 * report.before.macs


def test_lengths_and_sample_axes(tmp_path: Path) -> None:
    """Steps first, lengths beside them, and files of different lengths."""
    text = """net (float[T,B,4] x, int32[B] lens, float[1,16,4] w_w, float[1,16,16] w_r,
      float[16,3] w_o) => (float[B,3] y) <int64[1] zero = {0}> {
      all, h = RNN<hidden_size = 16>(x, w_w, w_r, , lens)
      s = Squeeze(h, zero)
      y = MatMul(s, w_o)
    }"""
    onnx.save(model_from_text(HEAD + text, integers=False), tmp_path / "model.onnx")
    folder = tmp_path / "data"
    folder.mkdir()
    rng = np.random.default_rng(1)
    for k in range(16):
        steps = 5 + k % 3
        x = rng.standard_normal((1, steps, 4)).astype(np.float32)
        np.savez(folder / f"{k}.npz", x=x, lens=np.array([steps], np.int32))
    (folder / "README.txt").write_text("sixteen sentences")
    data = DataConfig(str(folder), sample_axes={"x": 1})
    config = CompressConfig(data=data, target={"params": 0.6})
    report = compress(tmp_path / "model.onnx", config).report
    assert report.proof is not None
    assert report.proof.passed
    assert report.after.params <= 0.6 * report.before.params
    assert report.drift is not None
    assert report.drift.samples == 4
    assert any("README.txt" in warning for warning in report.warnings)


def test_a_criterion_that_cannot_tell_units_apart_says_so(tmp_path: Path) -> None:
    text = """net (float[N,6] x, float[6,8] w_a, float[8,3] w_b) => (float[N,3] y) {
      a = MatMul(x, w_a)
      r = Relu(a)
      y = MatMul(r, w_b)
    }"""
    model = model_from_text(HEAD + text, integers=False)
    path = written(model, tmp_path)
    options = {"criterion": "l1", "recover": "none"}
    assert not main_command(path, 0.6, **options).warnings
    alike = onnx.numpy_helper.from_array(np.ones((6, 8), np.float32), "w_a")
    model.graph.initializer[0].CopyFrom(alike)
    onnx.save(model, path)
    (warning,) = main_command(path, 0.6, **options).warnings
    assert "scores all units of 1 groups (g0000) the same" in warning


def test_rows_that_a_value_decides_on_are_not_re_fitted(tmp_path: Path) -> None:
    """Which rows come to the last layer depends on what the layers before it say."""
    text = """net (float[N,6] x, float[6,12] w_a, float[12,6] w_b, float[6,3] w_c) => (float[M,3] y)
    <float zero = {0.0}> {
      a = MatMul(x, w_a)
      r = Relu(a)
      b = MatMul(r, w_b)
      m = ReduceMean<axes = [1], keepdims = 0>(b)
      g = Greater(m, zero)
      c = Compress<axis = 0>(b, g)
      y = MatMul(c, w_c)
    }"""
    model = model_from_text(HEAD + text, integers=False)
    onnx.save(model, tmp_path / "model.onnx")
    np.savez(tmp_path / "model.npz", x=np.random.default_rng(0).standard_normal((64, 6)))
    report = main_command(tmp_path / "model.onnx", half_way(read(model)))
    assert report.recovery is not None
    assert len(report.recovery.layers) == 2


def test_a_batch_that_only_seems_to_be_free(tmp_path: Path) -> None:
    """The number of samples is written into a shape: all runs have two."""
    text = """net (float[N,4] x, float[4,12] w_a, float[12,3] w_b) => (float[2,3] y)
    <int64[2] shape = {2, 12}> {
      a = MatMul(x, w_a)
      b = Reshape(a, shape)
      r = Relu(b)
      y = MatMul(r, w_b)
    }"""
    onnx.save(model_from_text(HEAD + text, integers=False), tmp_path / "model.onnx")
    np.savez(tmp_path / "model.npz", x=np.random.default_rng(0).standard_normal((21, 4)))
    report = main_command(tmp_path / "model.onnx", 0.6)
    assert report.drift is not None
    assert report.drift.samples == 5
    assert report.after.macs <= 0.6 * report.before.macs
