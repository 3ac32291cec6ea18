"""Models that make much of their rounding: right cuts are proved, wrong ones are not."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from onnxslim_snacs.ir.keep import KeepMap
from onnxslim_snacs.model.session import SessionConfig
from onnxslim_snacs.ops.analyse import Analysis
from onnxslim_snacs.passes.prune import prune
from onnxslim_snacs.proof.gated import gated, given
from onnxslim_snacs.proof.inexact import RANGE, inexact_nodes
from onnxslim_snacs.proof.noise import nudge, nudged
from onnxslim_snacs.proof.outcome import Proof
from onnxslim_snacs.proof.prove import compare, prove
from onnxslim_snacs.proof.sides import Side
from onnxslim_snacs.proof.stored_parts import altered_weight
from onnxslim_snacs.proof.widen import DOUBLE, SINGLE, holds, widened
from tests.harness import model_from_text, random_keep, read

#: Which of 8000 numbers that lie close together is the larger decides what is picked where.
TIES = """<ir_version: 8, opset_import: ["" : 17]>
net (float[2,8] x, float[8,300] w_a, float[300,8000] w_b, float[8000] w_t) => (float[2,4000] y)
    <int64[1] some = {4000}> {
  a = MatMul(x, w_a)
  r = Relu(a)
  b = MatMul(r, w_b)
  v, i = TopK(b, some)
  y = Gather<axis=0>(w_t, i)
}"""

#: A quantiser of 8000 numbers: some lie between two steps.
STEPS = """<ir_version: 8, opset_import: ["" : 17]>
net (float[32,8] x, float[8,300] w_a, float[300,8000] w_b, float[8000,3] w_c) => (float[32,3] y)
    <float small = {0.01}, float scale = {0.008}, uint8 point = {128}> {
  a = MatMul(x, w_a)
  r = Relu(a)
  b = MatMul(r, w_b)
  s = Mul(b, small)
  t = Tanh(s)
  q = QuantizeLinear(t, scale, point)
  d = DequantizeLinear(q, scale, point)
  y = MatMul(d, w_c)
}"""

#: The difference of two large numbers carries their rounding.
CANCELS = """<ir_version: 8, opset_import: ["" : 17]>
net (float[2,8] x, float[8,700] w_a, float[700,400] w_b) => (float[2,400] y)
    <float far = {70000.0}> {
  a = MatMul(x, w_a)
  r = Relu(a)
  b = MatMul(r, w_b)
  c = Add(b, far)
  y = Sub(c, far)
}"""

#: x -> 4 x (1 - x), twelve times: chaos doubles a difference with each step.
CHAOS = """<ir_version: 8, opset_import: ["" : 17]>
net (float[2,8] x, float[8,700] w_a, float[700,4] w_b) => (float[2,4] y)
    <float one = {1.0}, float four = {4.0}> {
  a = MatMul(x, w_a)
  r = Relu(a)
  b = MatMul(r, w_b)
  s0 = Sigmoid(b)
  STEPS
  y = Identity(s14)
}"""
_STEPS = "\n".join(
    f"m{k} = Sub(one, s{k - 1})\n p{k} = Mul(s{k - 1}, m{k})\n s{k} = Mul(four, p{k})"
    for k in range(1, 15)
)
NOISY = {
    "ties": TIES,
    "steps": STEPS,
    "cancels": CANCELS,
    "chaos": CHAOS.replace("STEPS", _STEPS),
}


def cut(text: str, seed: int, ratio: float = 0.5) -> tuple[Analysis, KeepMap, ModelProto]:
    model = model_from_text(text, seed, integers=False)
    analysis = read(model)
    keep = random_keep(analysis, ratio, seed)
    return analysis, keep, prune(analysis, keep)


def moved(model: ModelProto, name: str, place: int = 0) -> ModelProto:
    """The model with one entry of a weight changed by one per cent."""
    copy = ModelProto()
    copy.CopyFrom(model)
    tensor = next(t for t in copy.graph.initializer if t.name == name)
    array = numpy_helper.to_array(tensor).copy()
    array.reshape(-1)[place] *= np.float32(1.01)
    tensor.CopyFrom(numpy_helper.from_array(array, name))
    return copy


def largest(model: ModelProto, name: str) -> int:
    tensor = next(t for t in model.graph.initializer if t.name == name)
    return int(np.abs(numpy_helper.to_array(tensor)).argmax())


@pytest.mark.parametrize("name", NOISY)
def test_rounding_is_no_fault(name: str) -> None:
    proofs: list[Proof] = []
    for seed in range(12):
        proofs.append(prove(*cut(NOISY[name], seed)))
        assert proofs[-1].passed, proofs[-1].failure
    # that end to end some of them are further apart than any right cut of another model is
    assert any(proof.end_to_end is not None and proof.end_to_end > 1e-5 for proof in proofs)
    assert all(proof.max_rel_diff <= proof.tolerance for proof in proofs)


@pytest.mark.parametrize("name", NOISY)
@pytest.mark.parametrize("weight", ["w_a", "w_b"])
def test_one_per_cent_of_one_weight_is(name: str, weight: str) -> None:
    """By what the model computes alone: nobody looks at the weights here."""
    for seed in range(3):
        analysis, keep, model = cut(NOISY[name], seed)
        place = largest(model, weight)
        assert compare(analysis, keep, model).passed
        assert not compare(analysis, keep, moved(model, weight, place)).passed


def test_a_weight_that_computes_nothing_is_looked_at() -> None:
    """All that the second layer reads is zero, so that no run can tell what its weights are."""
    text = CANCELS.replace("r = Relu(a)", "n = Abs(a)\n m = Neg(n)\n r = Relu(m)")
    analysis, keep, model = cut(text, 0)
    wrong = moved(model, "w_b")
    assert compare(analysis, keep, wrong).passed
    assert altered_weight(analysis, keep, model, None) == ""
    proof = prove(analysis, keep, wrong)
    assert not proof.passed
    assert proof.failure == "weight w_b is not the kept part of the original's"


RANGED = """<ir_version: 8, opset_import: ["" : 17]>
net (float[2,3] x, float[3,40] w_a, float[20,2] w_c, float[40,20] w_b) => (float[2,2] y)
    <float scale = {0.1}, int8 none = {0}> {
  a = MatMul(x, w_a)
  q, s, z = DynamicQuantizeLinear(a)
  k = QuantizeLinear(w_b, scale, none)
  i = MatMulInteger(q, k, z)
  f = Cast<to=1>(i)
  t = Mul(s, scale)
  b = Mul(f, t)
  y = MatMul(b, w_c)
}"""


def test_the_range_of_a_dynamic_quantiser_is_said() -> None:
    analysis = read(model_from_text(RANGED, integers=False))
    keep = random_keep(analysis, 0.7, 1)
    proof = prove(analysis, keep, prune(analysis, keep))
    assert proof.passed, proof.failure
    assert proof.oracle == RANGE
    assert [row.op for row in inexact_nodes(analysis, keep)] == ["DynamicQuantizeLinear"]
    assert 1e-4 < proof.range_diff < 0.1
    assert 1e-4 < proof.max_rel_diff <= proof.tolerance


def test_every_number_but_zero_moves_to_a_neighbour() -> None:
    array = np.array([0.0, 1.0, -3.5, np.inf, 1e-30] * 20, dtype=np.float32)
    there = nudge(array, np.random.default_rng(0))
    still = (array == 0) | ~np.isfinite(array)
    np.testing.assert_array_equal(there[still], array[still])
    apart = np.abs(there[~still].astype(np.float64) - array[~still])
    assert np.all((apart > 0) & (apart <= np.spacing(np.abs(array[~still]))))
    assert len(set(there[array == 1.0])) == 2  # some go up and some go down
    whole = np.arange(3)
    assert nudge(whole, np.random.default_rng(0)) is whole


def test_vectors_do_not_move() -> None:
    model = nudged(model_from_text(CANCELS, integers=False), 0)
    before = model_from_text(CANCELS, integers=False)
    same = [
        numpy_helper.to_array(a).tobytes() == numpy_helper.to_array(b).tobytes()
        for a, b in zip(model.graph.initializer, before.graph.initializer, strict=True)
    ]
    names = [tensor.name for tensor in before.graph.initializer]
    assert dict(zip(names, same, strict=True)) == {"far": True, "w_a": False, "w_b": False}


BRANCH = """<ir_version: 8, opset_import: ["" : 17]>
net (float[2] x, bool c) => (float[2] y, float[2] d) {
  d = Add(x, x)
  y = If(c) <
    then_branch = g () => (float[2] t) { t = Mul(d, d) },
    else_branch = h () => (float[2] e) { e = Neg(d) }
  >
}"""


def test_whoever_reads_a_gate_reads_what_is_given() -> None:
    model = model_from_text(BRANCH)
    value = np.array([5.0, 6.0], dtype=np.float32)
    feeds = {"x": np.ones(2, np.float32), "c": np.array(True), given("d"): value}
    values = Side(gated(model, {"d": value}), [feeds], None, SessionConfig(level=0)).run("yd")
    np.testing.assert_array_equal(values["d"][0], [2, 2])  # still computed
    np.testing.assert_array_equal(values["y"][0], [25, 36])  # read inside of the branch


HALF = """<ir_version: 8, opset_import: ["" : 17]>
net (float16[2,8] x, float16[8,16] w_a, float16[16,4] w_b) => (float16[2,4] y) {
  a = MatMul(x, w_a)
  f = Cast<to=1>(a)
  h = Cast<to=10>(f)
  y = MatMul(h, w_b)
}"""


@pytest.mark.parametrize(
    ("types", "kind"), [(SINGLE, TensorProto.FLOAT), (DOUBLE, TensorProto.DOUBLE)]
)
def test_a_wider_model_has_no_narrower_number_left(types: dict[int, int], kind: int) -> None:
    model = model_from_text(HALF, integers=False)
    wide = widened(model, types)
    assert holds(model, types)
    assert not holds(wide, types)
    assert {t.data_type for t in wide.graph.initializer} == {kind}
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    feeds = [{"x": np.ones((2, 8), dtype)}]
    (value,) = Side(wide, feeds, None, SessionConfig(level=0)).run("y")["y"]
    arrays = [numpy_helper.to_array(t).astype(np.float64) for t in model.graph.initializer]
    np.testing.assert_allclose(value, np.ones((2, 8)) @ arrays[0] @ arrays[1], rtol=1e-5)


def test_half_precision_hides_nothing() -> None:
    """One per cent of one weight is less than half precision rounds, of a sum of so many."""
    analysis, keep, model = cut(HALF.replace("16", "160").replace("float160", "float16"), 0)
    assert compare(analysis, keep, model).passed
    place = largest(model, "w_b")
    changed: Callable[[int], ModelProto] = lambda where: _half_moved(model, where)  # noqa: E731
    assert not compare(analysis, keep, changed(place)).passed


#: A scale that half precision has rounded: 16 ** -0.25 is 0.5, that of 7 channels is not.
SCALED = """<ir_version: 8, opset_import: ["" : 17]>
net (float16[2,8] x, float16[8,7] w_a, float16[7,4] w_b) => (float16[2,4] y)
<int64 last = {1}> {
  a = MatMul(x, w_a)
  s = Shape(a)
  d = Gather(s, last)
  f = Cast<to=10>(d)
  q = Sqrt(f)
  r = Sqrt(q)
  b = Div(a, r)
  y = MatMul(b, w_b)
}"""


def test_numbers_that_half_precision_has_rounded_are_no_fault() -> None:
    analysis, keep, model = cut(SCALED, 0)
    proof = compare(analysis, keep, model)
    assert proof.passed, proof.failure
    for node in model.graph.node:  # the scale is a constant of the cut model
        if node.op_type == "Div":
            scale = next(t for t in model.graph.initializer if t.name == node.input[1])
            scale.CopyFrom(numpy_helper.from_array(np.array(1.62, np.float16), scale.name))
    assert not compare(analysis, keep, model).passed


def _half_moved(model: ModelProto, place: int) -> ModelProto:
    copy = ModelProto()
    copy.CopyFrom(model)
    tensor = next(t for t in copy.graph.initializer if t.name == "w_b")
    array = numpy_helper.to_array(tensor).copy()
    array.reshape(-1)[place] *= np.float16(1.01)
    tensor.CopyFrom(numpy_helper.from_array(array, "w_b"))
    return copy
