from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import ModelProto, TensorProto, helper, numpy_helper

from onnxslim_snacs.activations.open_data import open_source
from onnxslim_snacs.config import DataConfig
from onnxslim_snacs.ir.keep import keep_map
from onnxslim_snacs.ir.types import Axis
from onnxslim_snacs.layers.walk import Walk
from onnxslim_snacs.model.graph import ModelGraph
from onnxslim_snacs.model.load import load_model
from onnxslim_snacs.ops.analyse import Analysis, analyse
from onnxslim_snacs.passes.prune import prune
from onnxslim_snacs.recovery.effort import LIGHT
from onnxslim_snacs.recovery.jobs import Cut, Recovered
from onnxslim_snacs.recovery.methods import (
    least_squares_method,
    recover_bias,
    recover_least_squares,
    recover_statistics,
)
from onnxslim_snacs.recovery.recover import recover_among, recover_together
from tests.harness import check, cifar, model_from_text, random_keep, read, run

METHODS = {
    "bias": recover_bias,
    "stats": recover_statistics,
    "least-squares": recover_least_squares,
}

TEXTS = {
    "residual": """
<ir_version: 8, opset_import: ["" : 17]>
g (float[n, 3, 8, 8] x, float[8, 3, 3, 3] w_a, float[8, 8, 3, 3] w_b, float[8, 8, 3, 3] w_c,
   float[8] w_s, float[8] w_t, float[8] w_m, float[5, 8] w_f, float[5] w_g) => (float[n, 5] y) {
  a = Conv<pads = [1, 1, 1, 1]>(x, w_a)
  ra = Relu(a)
  b = Conv<pads = [1, 1, 1, 1]>(ra, w_b)
  v = Constant<value_floats = [1.0, 2.0, 3.0, 4.0, 1.0, 2.0, 3.0, 4.0]>()
  nb = BatchNormalization(b, w_s, w_t, w_m, v)
  rb = Relu(nb)
  c = Conv<pads = [1, 1, 1, 1]>(rb, w_c)
  d = Add(c, ra)
  rd = Relu(d)
  p = GlobalAveragePool(rd)
  f = Flatten(p)
  y = Gemm<transB = 1>(f, w_f, w_g)
}
""",
    "depthwise": """
<ir_version: 8, opset_import: ["" : 17]>
g (float[n, 3, 8, 8] x, float[8, 3, 3, 3] w_a, float[8, 1, 3, 3] w_b, float[6, 8, 1, 1] w_c)
=> (float[n, 6, 4, 4] y) {
  a = Conv<pads = [1, 1, 1, 1]>(x, w_a)
  ra = Relu(a)
  b = Conv<group = 8, pads = [1, 1, 1, 1], strides = [2, 2]>(ra, w_b)
  six = Constant<value_float = 6.0>()
  rb = Clip(b, , six)
  y = Conv(rb, w_c)
}
""",
    "products": """
<ir_version: 8, opset_import: ["" : 17]>
g (float[n, 4, 6] x, float[6, 10] w_a, float[10, 7] w_b, float[7] w_c, float[7, 7] w_d)
=> (float[n, 4, 7] y) {
  a = MatMul(x, w_a)
  ra = Relu(a)
  b = MatMul(ra, w_b)
  c = Add(w_c, b)
  rc = Relu(c)
  y = MatMul(rc, w_d)
}
""",
    "left": """
<ir_version: 8, opset_import: ["" : 17]>
g (float[n, 6, 4] x, float[10, 6] w_a, float[7, 10] w_b) => (float[n, 7, 4] y) {
  a = MatMul(w_a, x)
  ra = Relu(a)
  y = MatMul(w_b, ra)
}
""",
    "transposed": """
<ir_version: 8, opset_import: ["" : 17]>
g (float[n, 4, 5, 5] x, float[8, 4, 3, 3] w_a, float[8, 3, 4, 4] w_b)
=> (float[n, 3, 10, 10] y) {
  a = Conv<pads = [1, 1, 1, 1]>(x, w_a)
  ra = Relu(a)
  y = ConvTranspose<strides = [2, 2], pads = [1, 1, 1, 1]>(ra, w_b)
}
""",
}


def make_cut(tmp_path: Path, model: ModelProto, ratio: float, seed: int, samples: int = 96) -> Cut:
    """A random cut with correlated random data."""
    analysis = read(model)
    keep = random_keep(analysis, ratio, seed)
    return Cut(analysis, keep, prune(analysis, keep), source_of(tmp_path, analysis, samples))


def source_of(tmp_path: Path, analysis: Analysis, samples: int) -> Any:
    rng = np.random.default_rng(7)
    dims = [d.dim_value for d in analysis.graph.graph.input[0].type.tensor_type.shape.dim][1:]
    mix = rng.standard_normal((dims[0], dims[0]))
    x = np.einsum("cd,nd...->nc...", mix, rng.standard_normal((samples, *dims)))
    np.save(tmp_path / "x.npy", (0.3 * x + 0.2).astype(np.float32))
    return open_source(DataConfig(path=str(tmp_path / "x.npy")), analysis.graph)


def float_model(name: str, seed: int = 0) -> ModelProto:
    return model_from_text(TEXTS[name], seed, integers=False)


def output_error(cut: Cut, model: ModelProto) -> float:
    """Relative squared error of the output over the calibration data."""
    wanted, got = (
        np.concatenate([run(m, b.inputs, 0)[0] for b in cut.source.batches()])
        for m in (cut.analysis.graph.proto, model)
    )
    error: float = np.square(wanted - got).sum() / np.square(wanted - wanted.mean(axis=0)).sum()
    return error


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("method", METHODS)
def test_the_output_comes_nearer(tmp_path: Path, name: str, method: str) -> None:
    cut = make_cut(tmp_path, float_model(name), 0.4, 3)
    before = cut.model.SerializeToString()
    recovered = METHODS[method](cut)
    check(recovered.model, full=True)
    assert cut.model.SerializeToString() == before
    assert any(layer.kept for layer in recovered.layers)
    assert output_error(cut, recovered.model) < output_error(cut, cut.model)


@pytest.mark.parametrize("name", ["left", "transposed"])
def test_what_can_be_expressed_is_recovered_exactly(tmp_path: Path, name: str) -> None:
    """Channels that are copies of kept ones: least squares has to hand over their weights."""
    model = float_model(name)
    keep = random_keep(read(model), 0.4, 3)
    kept = keep.index(Axis("w_a", 0))
    assert kept is not None
    first = next(t for t in model.graph.initializer if t.name == "w_a")
    array = numpy_helper.to_array(first).copy()
    gone = np.setdiff1d(np.arange(len(array)), kept)
    array[gone] = array[kept[: len(gone)]]
    first.CopyFrom(numpy_helper.from_array(array, "w_a"))
    analysis = read(model)
    cut = Cut(analysis, keep, prune(analysis, keep), source_of(tmp_path, analysis, 96))
    assert output_error(cut, cut.model) > 1e-2
    assert output_error(cut, recover_least_squares(cut).model) < 1e-5


def retyped(model: ModelProto, kind: int, steps: int = 127) -> ModelProto:
    """The model with its matrices and filters in another type, and nodes that bring them back."""
    changed = ModelProto()
    changed.CopyFrom(model)
    nodes = []
    for tensor in list(changed.graph.initializer):
        array = numpy_helper.to_array(tensor)
        if array.ndim < 2:
            continue
        name, inputs = tensor.name, [f"{tensor.name}_stored"]
        if kind == TensorProto.BFLOAT16:
            stored = helper.make_tensor(inputs[0], kind, array.shape, array.reshape(-1))
            nodes.append(helper.make_node("Cast", inputs, [name], to=TensorProto.FLOAT))
        else:
            scale = np.array(np.abs(array).max() / steps, dtype=np.float32)
            inputs.append(f"{name}_scale")
            changed.graph.initializer.append(numpy_helper.from_array(scale, inputs[1]))
            numbers = np.rint(array / scale).astype(np.int8)
            stored = numpy_helper.from_array(numbers, inputs[0])
            nodes.append(helper.make_node("DequantizeLinear", inputs, [name]))
        tensor.CopyFrom(stored)
    later = list(changed.graph.node)
    del changed.graph.node[:]
    changed.graph.node.extend([*nodes, *later])
    return changed


@pytest.mark.parametrize("kind", [TensorProto.BFLOAT16, TensorProto.INT8])
@pytest.mark.parametrize("name", ["residual", "products", "left"])
def test_weights_in_other_types_come_back_nearly_as_floats_do(
    tmp_path: Path, name: str, kind: int
) -> None:
    twin = make_cut(tmp_path, float_model(name), 0.4, 3)
    cut = make_cut(tmp_path, retyped(float_model(name), kind), 0.4, 3)
    recovered = recover_least_squares(cut)
    assert changed_weights(cut, recovered)
    float_error = output_error(twin, recover_least_squares(twin).model)
    assert output_error(cut, recovered.model) < 1.1 * float_error + 0.01
    old = {t.name: (t.data_type, list(t.dims)) for t in cut.model.graph.initializer}
    new = {t.name: (t.data_type, list(t.dims)) for t in recovered.model.graph.initializer}
    assert {name: kind for name, kind in new.items() if name in old} == old


def test_what_rounding_spoils_is_not_kept(tmp_path: Path) -> None:
    cut = make_cut(tmp_path, retyped(float_model("products"), TensorProto.INT8, steps=1), 0.4, 3)
    recovered = recover_least_squares(cut)
    tried = [(e.before, e.after, e.kept) for e in recovered.layers if e.after is not None]
    assert tried
    for before, after, kept in tried:
        assert before is not None
        assert kept == (after < before)
    assert output_error(cut, recovered.model) <= output_error(cut, cut.model) + 1e-6


def fold(model: ModelProto) -> ModelProto:
    """The residual text with its BatchNormalization folded into the convolution before it."""
    folded = ModelProto()
    folded.CopyFrom(model)
    arrays = {t.name: numpy_helper.to_array(t) for t in folded.graph.initializer}
    variance = np.array([1, 2, 3, 4, 1, 2, 3, 4], dtype=np.float32)
    scale = arrays["w_s"] / np.sqrt(variance + 1e-5)
    weights = {
        "w_b": arrays["w_b"] * scale[:, None, None, None],
        "bias": arrays["w_t"] - scale * arrays["w_m"],
    }
    for name in ("w_b", "w_s", "w_t", "w_m"):
        folded.graph.initializer.remove(next(t for t in folded.graph.initializer if t.name == name))
    folded.graph.initializer.extend(numpy_helper.from_array(a, n) for n, a in weights.items())
    nodes = [n for n in folded.graph.node if n.op_type not in ("BatchNormalization", "Constant")]
    del folded.graph.node[:]
    folded.graph.node.extend(nodes)
    conv = next(n for n in folded.graph.node if n.output[0] == "b")
    conv.output[0] = "nb"
    conv.input.append("bias")
    return folded


@pytest.mark.parametrize("method", METHODS)
def test_batch_norm_folded_or_not(tmp_path: Path, method: str) -> None:
    model = float_model("residual")
    errors = []
    for one in (model, fold(model)):
        cut = make_cut(tmp_path, one, 0.4, 5)
        errors.append(output_error(cut, METHODS[method](cut).model))
    assert errors[0] == pytest.approx(errors[1], rel=2e-2)


@pytest.mark.parametrize("name", TEXTS)
def test_the_same_bytes_twice(tmp_path: Path, name: str) -> None:
    cut = make_cut(tmp_path, float_model(name), 0.4, 3)
    a, b = (recover_least_squares(cut).model.SerializeToString() for _ in range(2))
    assert a == b


def test_together_they_become_what_each_becomes_alone(tmp_path: Path) -> None:
    cuts = [
        replace(make_cut(tmp_path, float_model("residual"), ratio, 3), effort=LIGHT)
        for ratio in (0.2, 0.4, 0.6)
    ]
    together = recover_together(cuts, least_squares_method(LIGHT))
    for cut, one in zip(cuts, together, strict=True):
        alone = recover_least_squares(cut)
        for ours, theirs in zip(
            one.model.graph.initializer, alone.model.graph.initializer, strict=True
        ):
            np.testing.assert_allclose(
                numpy_helper.to_array(ours), numpy_helper.to_array(theirs), rtol=1e-3, atol=1e-4
            )
        errors = [[layer.after for layer in each.layers] for each in (one, alone)]
        assert errors[0] == pytest.approx(errors[1], rel=1e-4)


def test_one_among_them_becomes_the_same_to_the_last_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    analysis = read(float_model("residual"))
    source = source_of(tmp_path, analysis, 96)
    cuts = []
    for group in analysis.ir.groups:  # each alone, so that other layers are corrected
        keep = keep_map(analysis.ir, {group.id: np.arange(group.units) % 3 > 0})
        cuts.append(Cut(analysis, keep, prune(analysis, keep), source, effort=LIGHT))
    assert len(cuts) == 2
    pieces: list[tuple[tuple[int, ...], tuple[str, ...]]] = []
    ran = Walk._piece

    def piece(walk: Walk, nodes: Any, outputs: Any, given: Any) -> Any:
        if walk.model is analysis.graph.proto:
            pieces.append((tuple(nodes), tuple(outputs)))
        return ran(walk, nodes, outputs, given)

    monkeypatch.setattr(Walk, "_piece", piece)
    method = least_squares_method(LIGHT)
    together = recover_together(cuts, method)
    of_the_original = pieces.copy()
    assert len(of_the_original) > 2
    for number, one in enumerate(together):
        pieces.clear()
        among = recover_among(cuts, number, method)
        assert pieces == of_the_original
        assert among.model.SerializeToString() == one.model.SerializeToString()
        assert [layer.after for layer in among.layers] == [layer.after for layer in one.layers]
        assert any(layer.kept for layer in among.layers)


def changed_weights(cut: Cut, recovered: Recovered) -> set[str]:
    old = {t.name: t.SerializeToString() for t in cut.model.graph.initializer}
    return {
        t.name
        for t in recovered.model.graph.initializer
        if t.SerializeToString() != old.get(t.name)
    }


@settings(max_examples=15, deadline=None, derandomize=True)
@given(
    name=st.sampled_from(sorted(TEXTS)),
    method=st.sampled_from(sorted(METHODS)),
    ratio=st.floats(0.1, 0.8),
    seed=st.integers(0, 99),
    samples=st.integers(2, 60),
)
def test_the_held_out_error_never_rises(
    tmp_path_factory: pytest.TempPathFactory,
    name: str,
    method: str,
    ratio: float,
    seed: int,
    samples: int,
) -> None:
    cut = make_cut(tmp_path_factory.mktemp("p"), float_model(name, seed), ratio, seed, samples)
    recovered = METHODS[method](cut)
    for layer in recovered.layers:
        if layer.kept:
            assert layer.after is not None
            assert layer.before is not None
            assert layer.after < layer.before
    if not any(layer.kept for layer in recovered.layers):
        assert not changed_weights(cut, recovered)


def test_a_product_without_a_bias_gets_one(tmp_path: Path) -> None:
    cut = make_cut(tmp_path, float_model("products"), 0.4, 3)
    recovered = recover_bias(cut)
    added = [n for n in recovered.model.graph.node if n.output[0] == "y"]
    assert [n.op_type for n in added] == ["Add"]
    # where an Add is there already, its constant takes the bias
    assert changed_weights(cut, recovered) == {"w_c", "y_bias"}


def test_batch_norm_takes_the_bias_into_its_mean(tmp_path: Path) -> None:
    cut = make_cut(tmp_path, float_model("residual"), 0.4, 3)
    recovered = recover_bias(cut)
    changed = changed_weights(cut, recovered)
    assert "w_m" in changed
    assert not changed & {"w_a", "w_b", "w_c", "w_s", "w_t", "w_f"}


def test_a_shared_vector_is_not_changed_for_others(tmp_path: Path) -> None:
    text = TEXTS["products"].replace("y = MatMul(rc, w_d)", "e = MatMul(rc, w_d) y = Add(e, w_c)")
    cut = make_cut(tmp_path, model_from_text(text, 0, integers=False), 0.4, 3)
    recovered = recover_bias(cut)
    assert any(layer.kept for layer in recovered.layers)
    check(recovered.model, full=True)
    assert output_error(cut, recovered.model) < output_error(cut, cut.model)


def test_layers_that_cannot_be_fitted_are_named(tmp_path: Path) -> None:
    text = """
<ir_version: 8, opset_import: ["" : 17]>
g (float[n, 5, 6] x, float[6, 8] w_a, float[8, 8] w_b, float[5, 8, 4] w_c) => (float[n, 5, 4] y) {
  a = MatMul(x, w_a)
  w = Tanh(w_b)
  b = MatMul(a, w)
  y = MatMul(b, w_c)
}
"""
    cut = make_cut(tmp_path, model_from_text(text, 0, integers=False), 0.4, 3)
    layers = recover_least_squares(cut).layers
    assert [(layer.op, layer.reason != "") for layer in layers] == [("MatMul", True)] * 2
    assert "computed" in layers[0].reason
    assert "batch axis" in layers[1].reason


def test_old_files_list_new_constants_among_their_inputs(tmp_path: Path) -> None:
    model = float_model("depthwise")
    model.ir_version = 3
    for tensor in model.graph.initializer:
        info = helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        model.graph.input.append(info)
    cut = make_cut(tmp_path, model, 0.4, 3)
    recovered = recover_least_squares(cut).model
    graph = ModelGraph(recovered)
    assert set(graph.initializers) <= {v.name for v in recovered.graph.input}
    assert output_error(cut, recovered) < output_error(cut, cut.model)


@pytest.mark.shared
@pytest.mark.parametrize("method", ["stats", "least-squares"])
def test_resnet20_comes_back(shared: Path, tmp_path: Path, method: str) -> None:
    x = (cifar(256)[0] / 255.0 - 0.45) / 0.225
    np.save(tmp_path / "x.npy", x.astype(np.float32))
    graph = load_model(shared / "models" / "cifar10_akamaster_resnet20_ts17_bn.onnx")
    analysis = analyse(graph)
    source = open_source(DataConfig(path=str(tmp_path / "x.npy")), graph)
    keep = random_keep(analysis, 0.2, 0)
    cut = Cut(analysis, keep, prune(analysis, keep), source.part(0, 192))
    judged = replace(cut, source=source.part(192, 256))
    after, before = (output_error(judged, m) for m in (METHODS[method](cut).model, cut.model))
    assert after < {"stats": 0.7, "least-squares": 0.3}[method] * before
