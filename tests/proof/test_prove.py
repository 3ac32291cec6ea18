"""The proof: what it accepts, what it catches, and what it does where it cannot look."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper, save

from onnxslim_snacs.commands.compress import compress
from onnxslim_snacs.config import CompressConfig
from onnxslim_snacs.errors import InputRefused, ProofFailed
from onnxslim_snacs.ir.keep import KeepMap, keep_map
from onnxslim_snacs.model.element_types import element_types
from onnxslim_snacs.model.load import load_model
from onnxslim_snacs.ops.analyse import Analysis, analyse
from onnxslim_snacs.passes.prune import prune
from onnxslim_snacs.proof.difference import relative_difference, worst_difference
from onnxslim_snacs.proof.inexact import CONSUMER_ZERO, GATHER, inexact_nodes
from onnxslim_snacs.proof.outcome import require
from onnxslim_snacs.proof.prove import compare, prove
from tests.harness import model_from_text, random_keep, read

NORM = """<ir_version: 8, opset_import: ["" : 17]>
net (float[N,7,3] x, float[3,6] w_a, float[6] w_s, float[6] w_t, float[6,5] w_b,
     float[5,2] w_c) => (float[N,7,2] y) {
  a = MatMul(x, w_a)
  n = LayerNormalization(a, w_s, w_t)
  b = MatMul(n, w_b)
  y = MatMul(b, w_c)
}"""

DIVISION = """<ir_version: 8, opset_import: ["" : 17]>
net (float[N,3] x, float[3,6] w_a, float[6] w_d, float[6,2] w_b) => (float[N,2] y) {
  a = MatMul(x, w_a)
  q = Div(a, w_d)
  y = MatMul(q, w_b)
}"""

CUSTOM = """<ir_version: 8, opset_import: ["" : 17, "elsewhere" : 1]>
net (float[2,3,4,4] x, float[6,3,1,1] w_a, float[3,6,1,1] w_b, float[5,3,1,1] w_c,
     float[2,5,1,1] w_d) => (float[2,2,4,4] y)
    <float[2,3,4,4] u> {
  a = Conv(x, w_a)
  r = Relu(a)
  b = Conv(r, w_b)
  u = elsewhere.Unheard(b)
  c = Conv(u, w_c)
  s = Relu(c)
  y = Conv(s, w_d)
}"""

RANDOM = """<ir_version: 8, opset_import: ["" : 17]>
net (float[N,3] x, float[3,6] w_a, float[6,3] w_b, float[3,5] w_c, float[5,2] w_d)
  => (float[N,2] y, int32[N,4] z) {
  a = MatMul(x, w_a)
  m = MatMul(a, w_b)
  e = RandomNormalLike(m)
  s = Add(m, e)
  c = MatMul(s, w_c)
  r = Relu(c)
  y = MatMul(r, w_d)
  z = Multinomial<sample_size = 4>(y)
}"""


DROPPING = """<ir_version: 8, opset_import: ["" : 17]>
net (float[N,3] x, float[3,6] w_a, float[6,5] w_b, float[5,2] w_c) => (float[N,2] y)
    <float share = {0.5}, bool on = {1}> {
  a = MatMul(x, w_a)
  r = Relu(a)
  b = MatMul(r, w_b)
  d = Dropout(b, share, on)
  y = MatMul(d, w_c)
}"""

QUANTISED = """<ir_version: 8, opset_import: ["" : 17]>
net (float[2,3] x, float[3,40] w_a, int8[40,20] w_b, float[20,2] w_c) => (float[2,2] y)
    <float scale = {0.1}> {
  a = MatMul(x, w_a)
  q, s, z = DynamicQuantizeLinear(a)
  i = MatMulInteger(q, w_b, z)
  f = Cast<to=1>(i)
  t = Mul(s, scale)
  b = Mul(f, t)
  y = MatMul(b, w_c)
}"""


def halves(analysis: Analysis) -> KeepMap:
    return keep_map(
        analysis.ir, {g.id: np.arange(g.units) % 2 == 0 for g in analysis.ir.groups if g.units > 1}
    )


def swapped(model: ModelProto, name: str) -> ModelProto:
    """The model with the first two entries of a weight exchanged."""
    copy = ModelProto()
    copy.CopyFrom(model)
    tensor = next(t for t in copy.graph.initializer if t.name == name)
    array = numpy_helper.to_array(tensor).copy()
    array[[0, 1]] = array[[1, 0]]
    tensor.CopyFrom(numpy_helper.from_array(array, name))
    return copy


def test_inexact_cuts_are_proved_by_the_gather_oracle_and_named() -> None:
    analysis = read(model_from_text(NORM, integers=False), allow_inexact=True)
    keep = halves(analysis)
    proof = prove(analysis, keep, prune(analysis, keep))
    assert proof.passed, proof.failure
    assert proof.oracle == GATHER
    (row,) = inexact_nodes(analysis, keep)
    assert (row.op, row.axis) == ("LayerNormalization", "a[2]")
    assert "has changed" in row.reason


def test_a_cut_that_touches_no_statistic_is_exact() -> None:
    analysis = read(model_from_text(NORM, integers=False), allow_inexact=True)
    group = next(g for g in analysis.ir.groups if g.units == 5)
    keep = keep_map(analysis.ir, {group.id: np.arange(5) < 3})
    assert inexact_nodes(analysis, keep) == ()
    assert prove(analysis, keep, prune(analysis, keep)).oracle == CONSUMER_ZERO


@pytest.mark.parametrize("weight", ["w_s", "w_b", "w_c"])
def test_exchanged_entries_are_caught(weight: str) -> None:
    analysis = read(model_from_text(NORM, integers=False), allow_inexact=True)
    keep = halves(analysis)
    proof = prove(analysis, keep, swapped(prune(analysis, keep), weight))
    assert not proof.passed
    with pytest.raises(ProofFailed, match="differ"):
        require(proof)


@pytest.mark.parametrize("opset", [8, 17])
@pytest.mark.parametrize("bad", [0, 1])
def test_what_is_no_number_at_a_removed_slot_does_not_survive(bad: int, opset: int) -> None:
    model = model_from_text(DIVISION.replace("17", str(opset)), integers=False)
    divisor = next(t for t in model.graph.initializer if t.name == "w_d")
    values = np.where(np.arange(6) == bad, 0, 2).astype(np.float32)
    divisor.CopyFrom(numpy_helper.from_array(values, "w_d"))
    analysis = read(model)
    (group,) = analysis.ir.groups
    keep = keep_map(analysis.ir, {group.id: np.arange(6) != bad})
    proof = prove(analysis, keep, prune(analysis, keep))
    assert proof.passed, proof.failure
    assert proof.max_rel_diff <= 1e-6


def typed(kind: int, op: str = "Relu", domain: str = "") -> ModelProto:
    """x (2, 3) -> MatMul -> an operator -> MatMul, in one element type."""
    rng = np.random.default_rng(0)
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    shapes = {"w_a": (3, 6), "w_b": (6, 2)}
    weights = [
        numpy_helper.from_array(rng.integers(-2, 3, s).astype(dtype), n) for n, s in shapes.items()
    ]
    nodes = [
        helper.make_node("MatMul", ["x", "w_a"], ["a"]),
        helper.make_node(op, ["a"], ["r"], domain=domain),
        helper.make_node("MatMul", ["r", "w_b"], ["y"]),
    ]
    infos = [helper.make_tensor_value_info(n, kind, s) for n, s in (("x", (2, 3)), ("y", (2, 2)))]
    graph = helper.make_graph(nodes, "net", infos[:1], infos[1:], weights)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


@pytest.mark.parametrize("kind", [TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.INT32])
def test_masks_have_the_type_of_what_they_mask(kind: int) -> None:
    analysis = read(typed(kind, "Identity"))
    keep = halves(analysis)
    proof = prove(analysis, keep, prune(analysis, keep))
    assert proof.passed, proof.failure
    assert proof.samples == 2


def test_types_that_inference_does_not_know_come_from_the_runtime() -> None:
    model = typed(TensorProto.FLOAT16, "QuickGelu", "com.microsoft")
    assert element_types(model, ["r"]) == {"r": TensorProto.FLOAT16}
    analysis = read(model)
    keep = halves(analysis)
    assert keep.kept
    proof = prove(analysis, keep, prune(analysis, keep))
    assert proof.passed, proof.failure


def test_types_that_nobody_knows_are_refused() -> None:
    model = typed(TensorProto.FLOAT16, "Unheard", "elsewhere")
    with pytest.raises(InputRefused, match=r"^the element type of r is not known: .*elsewhere"):
        element_types(model, ["r"])


#: Two large terms that cancel out leave four digits of noise in the answers.
CANCELLING = """<ir_version: 8, opset_import: ["" : 17]>
net (float[N,3] x, float[3,6] w_a, float[6,2] w_b) => (float[N,2] y)
    <float[3,2] p = {811.0, 977.0, 613.0, 751.0, 997.0, 503.0},
     float[3,2] q = {811.0, 977.0, 613.0, 751.0, 997.0, 503.0}, float[1,2] g = {1.5, 0.5}> {
  a = MatMul(x, w_a)
  r = Relu(a)
  b = MatMul(r, w_b)
  h = Mul(b, g)
  c = MatMul(x, p)
  d = MatMul(x, q)
  e = Sub(c, d)
  y = Add(h, e)
}"""


@pytest.mark.parametrize("wrong", [3e-5, 3e-4])
@pytest.mark.parametrize(
    ("text", "name"), [(DIVISION, "w_b"), (CANCELLING, "w_b"), (CANCELLING, "g")]
)
def test_a_weight_that_is_a_little_wrong_is_found(text: str, name: str, wrong: float) -> None:
    """More than rounding explains, and less than anybody sees; no noise of the model hides it."""
    analysis = read(model_from_text(text, integers=False))
    keep = halves(analysis)
    pruned = prune(analysis, keep)
    assert prove(analysis, keep, pruned).passed
    tensor = next(t for t in pruned.graph.initializer if t.name == name)
    array = numpy_helper.to_array(tensor) * np.float32(1 + wrong)
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    assert not prove(analysis, keep, pruned).passed
    proof = compare(analysis, keep, pruned)  # by what is computed alone
    assert proof.max_rel_diff == pytest.approx(wrong, rel=0.1)
    assert proof.tolerance < 1e-5
    assert not proof.passed
    with pytest.raises(ProofFailed):
        require(proof)


def test_a_model_with_an_unknown_operator_is_proved_around_it() -> None:
    analysis = read(model_from_text(CUSTOM, integers=False))
    assert not analysis.facts.ran
    assert [g.units for g in analysis.ir.groups] == [6, 5]
    keep = halves(analysis)
    pruned = prune(analysis, keep)
    proof = prove(analysis, keep, pruned)
    assert proof.passed, proof.failure
    assert proof.boundary == ("u",)
    for weight in ("w_a", "w_b", "w_c"):
        assert not prove(analysis, keep, swapped(pruned, weight)).passed, weight


def test_an_unknown_operator_of_unknown_shape_is_refused_with_the_reason() -> None:
    text = CUSTOM.replace("    <float[2,3,4,4] u> {", "    <float[2,3,P,P] u> {")
    analysis = read(model_from_text(text, integers=False))
    keep = random_keep(analysis, 0.5, 1)
    assert keep.kept
    proof = prove(analysis, keep, prune(analysis, keep))
    assert proof.refused
    assert "type or shape of what it reads is not known" in proof.failure
    with pytest.raises(InputRefused, match="cannot be proved"):
        require(proof)


def test_numbers_that_are_drawn_are_the_same_on_both_sides() -> None:
    analysis = read(model_from_text(RANDOM, integers=False))
    keep = halves(analysis)
    pruned = prune(analysis, keep)
    proof = prove(analysis, keep, pruned)
    assert proof.passed, proof.failure
    assert proof.boundary == ("e", "z")
    assert not prove(analysis, keep, swapped(pruned, "w_d")).passed


def test_channels_around_a_dropout_that_drops_stay_and_the_rest_is_proved() -> None:
    analysis = read(model_from_text(DROPPING, integers=False))
    assert [group.units for group in analysis.ir.groups] == [6]
    pin = next(pin for pin in analysis.ir.pins if pin.op == "Dropout")
    assert "the model is random" in pin.reason
    keep = halves(analysis)
    pruned = prune(analysis, keep)
    proof = prove(analysis, keep, pruned)
    assert proof.passed, proof.failure
    assert proof.boundary == ("d",)
    assert not prove(analysis, keep, swapped(pruned, "w_b")).passed


def test_a_dropout_that_drops_is_refused_with_a_reason(tmp_path: Path) -> None:
    save(model_from_text(DROPPING, integers=False), tmp_path / "net.onnx")
    config = CompressConfig(ratio=0.5, criterion="l1")
    with pytest.raises(InputRefused, match="the model is random: d "):
        compress(tmp_path / "net.onnx", config)


@pytest.mark.shared
@pytest.mark.parametrize("name", ["qonnx_mnist_TFC_2W2A", "sr_pytorch_prepost_op18"])
def test_real_models_with_unknown_operators_are_proved_around_them(name: str, shared: Path) -> None:
    analysis = analyse(load_model(shared / "models" / "custom_ops" / f"{name}.onnx"))
    keep = random_keep(analysis, 0.5, 1)
    proof = prove(analysis, keep, prune(analysis, keep))
    assert proof.passed, proof.failure
    assert bool(keep.kept) == (name == "sr_pytorch_prepost_op18")


def test_integers_may_round_the_other_way_now_and_then() -> None:
    many = np.zeros(100_000, dtype=np.uint8)
    few, far = many.copy(), many.copy()
    few[:3], far[:3] = 1, 2
    assert relative_difference(many, few) == 0.0
    assert relative_difference(many, far) == np.inf
    assert relative_difference(many[:100], few[:100]) == np.inf


def test_a_sum_that_cancels_on_one_input_set_is_held_against_its_size_on_the_others() -> None:
    large, small = np.full(3, 200.0, np.float32), np.full(3, 0.01, np.float32)
    noise = np.float32(1e-4)
    assert relative_difference(small, small + noise) > 1e-3
    assert worst_difference([large, small], [large, small + noise]) < 1e-6
    assert worst_difference([large, small], [large, small + 1]) > 1e-3
    assert worst_difference([small, large], [small, np.full(3, np.nan, np.float32)]) == np.inf


SIGMOID = """<ir_version: 8, opset_import: ["" : 17]>
net (float[2,40] x, float[40,60] w_a, float[60,9] w_b, float[9] w_c) => (float[2,9] y) {
  a = MatMul(x, w_a)
  r = Relu(a)
  m = MatMul(r, w_b)
  s = Add(m, w_c)
  y = Sigmoid(s)
}"""


def _far_below_zero() -> ModelProto:
    model = model_from_text(SIGMOID, integers=False)
    for tensor in model.graph.initializer:
        if tensor.name == "w_c":
            tensor.CopyFrom(numpy_helper.from_array(np.full(9, -200, np.float32), "w_c"))
    return model


def test_the_rounding_of_a_sigmoid_is_no_difference() -> None:
    """Its values are tiny: what it rounds at 1 is much, held against them."""
    analysis = read(_far_below_zero())
    keep = random_keep(analysis, 0.5, seed=0)
    feeds = [{"x": np.zeros((2, 40), np.float32)}]
    cut = prune(analysis, keep)
    assert prove(analysis, keep, cut, feeds=feeds).passed
    moved = ModelProto()
    moved.CopyFrom(cut)
    (bias,) = (tensor for tensor in moved.graph.initializer if tensor.name == "w_c")
    shifted = numpy_helper.to_array(bias) * np.float32(1.001)
    bias.CopyFrom(numpy_helper.from_array(shifted, "w_c"))
    assert not prove(analysis, keep, moved, feeds=feeds).passed  # what the Sigmoid reads tells


def test_a_sigmoid_of_its_own_range_is_held_against_it() -> None:
    small = np.array([3.6e-5], np.float32)
    rounded = small + np.float32(1.8e-7)
    assert worst_difference([small], [rounded]) > 1e-3
    assert worst_difference([small], [rounded], 1.0) < 1e-6
    assert worst_difference([10 * np.ones(1)], [10.1 * np.ones(1)], 1.0) == pytest.approx(0.01)
