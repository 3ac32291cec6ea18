"""A stream in another basis: the same function, and channels that can be cut exactly."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto

from onnxslim_snacs import CompressConfig, DataConfig, compress
from onnxslim_snacs.commands.apply import apply_plan
from onnxslim_snacs.commands.export_plan import export_plan
from onnxslim_snacs.commands.turned import principal, rotate_file
from onnxslim_snacs.commands.verify import verify_files
from onnxslim_snacs.errors import InputRefused, NothingToPrune, ProofFailed, UsageError
from onnxslim_snacs.ir.keep import keep_map
from onnxslim_snacs.layers.streams import NoStream, Stream, find_streams
from onnxslim_snacs.ops.analyse import Analysis
from onnxslim_snacs.passes.rotate import rotate
from onnxslim_snacs.plan.bases import StreamBasis, stream_basis
from onnxslim_snacs.plan.written import load_plan
from tests.harness import assert_exact, model_from_text, read, run

RNG = np.random.default_rng(3)

HEAD = '<ir_version: 8, opset_import: ["" : 17]>\nnet '
LAYER_NORM = "{o} = LayerNormalization<axis = -1, epsilon = 0.00001>({x}, w_s{k}, w_t{k})"
ROOT_MEAN_SQUARE = """
  two{k} = Constant<value_float = 2.0>()
  tiny{k} = Constant<value_float = 0.000001>()
  p{k} = Pow({x}, two{k})
  m{k} = ReduceMean<axes = [-1]>(p{k})
  a{k} = Add(m{k}, tiny{k})
  r{k} = Sqrt(a{k})
  i{k} = Reciprocal(r{k})
  n{k} = Mul({x}, i{k})
  {o} = Mul(w_s{k}, n{k})
"""
WRITTEN_OUT = """
  two{k} = Constant<value_float = 2.0>()
  tiny{k} = Constant<value_float = 0.00001>()
  c{k} = ReduceMean<axes = [-1]>({x})
  d{k} = Sub({x}, c{k})
  p{k} = Pow(d{k}, two{k})
  m{k} = ReduceMean<axes = [-1]>(p{k})
  a{k} = Add(m{k}, tiny{k})
  r{k} = Sqrt(a{k})
  n{k} = Div(d{k}, r{k})
  g{k} = Mul(n{k}, w_s{k})
  {o} = Add(g{k}, w_t{k})
"""
BATCH_NORM = """
  u{k} = Transpose<perm = [0, 2, 1]>({x})
  v{k} = BatchNormalization(u{k}, w_s{k}, w_t{k}, w_mean{k}, w_var{k})
  {o} = Transpose<perm = [0, 2, 1]>(v{k})
"""
NORMS = {
    "layer norm": LAYER_NORM,
    "root mean square": ROOT_MEAN_SQUARE,
    "layer norm, written out": WRITTEN_OUT,
    "batch norm": BATCH_NORM,
}


def transformer(norm: str) -> ModelProto:
    """Embedding and positions, one residual branch, a head; every part has a bias."""
    vectors = ", ".join(
        f"float[8] w_s{k}, float[8] w_t{k}, float[8] w_mean{k}, float[8] w_var{k}" for k in (1, 2)
    )
    text = f"""{HEAD} (float[N,5,6] x, float[6,8] w_e, float[8] w_eb, float[5,8] w_pos, {vectors},
      float[8,12] w_up, float[12] w_ub, float[12,8] w_down, float[8] w_db, float[8,3] w_head)
      => (float[N,3] y) {{
      e = MatMul(x, w_e)
      f = Add(e, w_eb)
      s = Add(f, w_pos)
      {norm.format(x="s", o="h", k=1)}
      j = MatMul(h, w_up)
      jb = Add(j, w_ub)
      k = Relu(jb)
      l = MatMul(k, w_down)
      q = Add(l, w_db)
      z = Add(s, q)
      {norm.format(x="z", o="o", k=2)}
      c = ReduceMean<axes = [1], keepdims = 0>(o)
      y = MatMul(c, w_head)
    }}"""
    model = model_from_text(text, integers=False)
    read_names = {name for node in model.graph.node for name in node.input}
    for tensor in list(model.graph.initializer):
        if tensor.name not in read_names:
            model.graph.initializer.remove(tensor)
        elif "var" in tensor.name or "w_s" in tensor.name:
            values = np.abs(onnx.numpy_helper.to_array(tensor)) + np.float32(0.5)
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    return model


def stream_of(analysis: Analysis) -> Stream:
    (stream,) = (s for s in find_streams(analysis) if isinstance(s, Stream))
    return stream


@pytest.mark.parametrize("norm", NORMS.values(), ids=NORMS)
def test_the_function_stays_and_the_width_becomes_exact(norm: str) -> None:
    model = transformer(norm)
    analysis = read(model, allow_inexact=True)
    stream = stream_of(analysis)
    assert stream.width == 8
    assert set(stream.writers) == {"w_e", "w_eb", "w_pos", "w_down", "w_db"}
    assert [layer.weight for layer, _ in stream.readers] == ["w_up", "w_head"]
    basis = np.linalg.qr(RNG.standard_normal((8, 8)))[0]
    turned = rotate(analysis, stream, basis)
    feeds = {"x": RNG.standard_normal((4, 5, 6)).astype(np.float32)}
    (wanted,), (got,) = run(model, feeds, 0), run(turned, feeds, 0)
    assert np.abs(wanted - got).max() <= 2e-6 * np.abs(wanted).max()

    after = read(turned)  # nothing inexact is allowed
    group = next(g for g in after.ir.groups if g.units == 8)
    keep = keep_map(after.ir, {group.id: np.arange(8) < 5})
    cut = assert_exact(after, keep, rtol=2e-6)
    weights = {t.name: tuple(t.dims) for t in cut.graph.initializer}
    assert weights["w_e"] == (6, 5)
    assert weights["w_head"] == (5, 3)
    assert not [s for s in find_streams(read(turned, allow_inexact=True)) if type(s) is Stream]


def test_a_square_matrix_both_reads_and_writes() -> None:
    text = f"""{HEAD} (float[N,5,6] x, float[6,8] w_e, float[8] w_s1, float[8] w_t1, float[8] w_s2,
      float[8] w_t2, float[8,8] w_a, float[8,3] w_head) => (float[N,5,3] y) {{
      e = MatMul(x, w_e)
      h = LayerNormalization<axis = -1>(e, w_s1, w_t1)
      a = MatMul(h, w_a)
      z = Add(e, a)
      o = LayerNormalization<axis = -1>(z, w_s2, w_t2)
      y = MatMul(o, w_head)
    }}"""
    model = model_from_text(text, integers=False)
    analysis = read(model, allow_inexact=True)
    turned = rotate(analysis, stream_of(analysis), np.linalg.qr(RNG.standard_normal((8, 8)))[0])
    feeds = {"x": RNG.standard_normal((4, 5, 6)).astype(np.float32)}
    (wanted,), (got,) = run(model, feeds, 0), run(turned, feeds, 0)
    assert np.abs(wanted - got).max() <= 2e-6 * np.abs(wanted).max()


def test_a_wrong_basis_is_seen() -> None:
    model = transformer(LAYER_NORM)
    analysis = read(model, allow_inexact=True)
    basis = np.linalg.qr(RNG.standard_normal((8, 8)))[0]
    turned = rotate(analysis, stream_of(analysis), basis * 1.01)
    feeds = {"x": RNG.standard_normal((4, 5, 6)).astype(np.float32)}
    (wanted,), (got,) = run(model, feeds, 0), run(turned, feeds, 0)
    assert np.abs(wanted - got).max() > 1e-3 * np.abs(wanted).max()


POST_NORM = f"""{HEAD} (float[N,5,6] x, float[6,8] w_e, float[8] w_s1, float[8] w_t1, float[8] w_s2,
  float[8] w_t2, float[8,8] w_a, float[8,3] w_head) => (float[N,5,3] y) {{
  e = MatMul(x, w_e)
  h = LayerNormalization<axis = -1>(e, w_s1, w_t1)
  a = MatMul(h, w_a)
  z = Add(h, a)
  o = LayerNormalization<axis = -1>(z, w_s2, w_t2)
  y = MatMul(o, w_head)
}}"""


def test_a_norm_behind_the_sum_is_refused_with_the_reason() -> None:
    found = find_streams(read(model_from_text(POST_NORM), allow_inexact=True))
    assert [s.reason for s in found if isinstance(s, NoStream)] == [
        "z (Add) adds what was normalised to what was not, or joins different norms: where a norm "
        "stands behind the sum (post-norm), its scale multiplies each channel of the stream by "
        "itself, so that only the basis in which they are will do"
    ]


def test_what_cannot_be_turned_is_told_what_can_be_done(tmp_path: Path) -> None:
    path, data = tmp_path / "net.onnx", tmp_path / "data.npz"
    onnx.save(model_from_text(POST_NORM), path)
    np.savez(data, x=RNG.standard_normal((64, 5, 6)).astype(np.float32))
    config = CompressConfig(data=DataConfig(str(data)), target={"params": 0.7}, width="rotate")
    with pytest.raises(NothingToPrune, match=r"post-norm.*--width refit narrows it"):
        compress(path, config)
    narrower = compress(path, replace(config, width="refit"))
    weights = {t.name: tuple(t.dims) for t in narrower.model.graph.initializer}
    assert weights["w_e"][1] < 8


def test_principal_components_are_ordered_and_signed() -> None:
    values, basis = principal(np.diag([1.0, 9.0, 4.0]))
    assert values.tolist() == [9.0, 4.0, 1.0]
    assert basis.tolist() == [[0, 0, 1], [1, 0, 0], [0, 1, 0]]


def written(tmp_path: Path) -> tuple[Path, Path]:
    model, data = tmp_path / "net.onnx", tmp_path / "data.npz"
    onnx.save(transformer(LAYER_NORM), model)
    few = RNG.standard_normal((64, 5, 2)) @ RNG.standard_normal((2, 6))  # two directions carry all
    np.savez(data, x=few.astype(np.float32))
    return model, data


def test_the_command_turns_and_compress_cuts_what_carries_nothing(tmp_path: Path) -> None:
    model, data = written(tmp_path)
    turned = rotate_file(model, DataConfig(str(data)), out=tmp_path / "turned.onnx")
    (stream,) = turned.streams
    assert (stream.width, stream.norms) == (8, 2)
    assert turned.difference <= 1e-5
    config = CompressConfig(
        data=DataConfig(str(data)), target={"params": 0.7}, width="rotate", criterion="refit"
    )
    done = compress(model, config)
    assert done.report.proof is not None
    assert done.report.proof.passed
    assert not done.report.inexact
    weights = {t.name: tuple(t.dims) for t in done.model.graph.initializer}
    assert weights["w_e"][1] < 8
    assert done.report.notes["rotated"]["streams"][0]["width"] == 8


def test_random_samples_say_nothing_of_components(tmp_path: Path) -> None:
    model, _ = written(tmp_path)
    with pytest.raises(NothingToPrune, match="--data"):
        rotate_file(model, DataConfig(), out=tmp_path / "turned.onnx")


@pytest.mark.parametrize("recover", ["none", "auto"])
def test_the_plan_turns_cuts_and_fits_again(recover: str, tmp_path: Path) -> None:
    model, data = written(tmp_path)
    out, place, again = (tmp_path / name for name in ("out.onnx", "plan.json", "again.onnx"))
    config = CompressConfig(
        data=DataConfig(str(data)), target={"params": 0.7}, width="rotate", recover=recover
    )
    compress(model, config, out=out, plan_out=place)
    steps = [step["pass"] for step in json.loads(place.read_text())["steps"]]
    assert steps == ["rotate", "prune"] + (["recover"] if recover == "auto" else [])
    given = DataConfig(str(data)) if recover == "auto" else None
    done = apply_plan(model, place, out=again, data=given)
    assert again.read_bytes() == out.read_bytes()
    assert done.report.notes["rotated"]["streams"][0]["width"] == 8
    found = verify_files(model, out, load_plan(place))
    assert found.passed
    assert found.planned
    assert found.turned is not None
    assert 0 < found.turned <= 1e-5


def test_a_plan_with_another_basis_is_no_proof(tmp_path: Path) -> None:
    model, data = written(tmp_path)
    config = CompressConfig(
        data=DataConfig(str(data)), target={"params": 0.7}, width="rotate", recover="none"
    )
    plan = compress(model, config).plan
    (basis,) = plan.bases
    wrong = stream_basis(basis.group, 1.01 * basis.matrix())
    with pytest.raises(ProofFailed, match="the turned model differs from the original by"):
        apply_plan(model, replace(plan, bases=(wrong,)))
    with pytest.raises(InputRefused, match="no part of it"):
        export_plan(plan, model)
    elsewhere = stream_basis("nowhere", basis.matrix())
    with pytest.raises(InputRefused, match="no residual stream nowhere of 8 channels"):
        apply_plan(model, replace(plan, bases=(elsewhere,)))


def test_a_basis_is_held_against_its_width() -> None:
    with pytest.raises(UsageError, match="expected 3 x 3 numbers"):
        StreamBasis("s", 3, stream_basis("s", np.eye(2)).values)
    with pytest.raises(UsageError, match="no base64"):
        StreamBasis("s", 3, "?")
    with pytest.raises(UsageError, match="finite"):
        stream_basis("s", np.full((2, 2), np.nan))
