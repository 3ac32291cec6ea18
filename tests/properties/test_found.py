"""What generated models have brought to light, each as the smallest model that shows it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper

from onnxslim_snacs.ir.keep import KeepMap, keep_map
from onnxslim_snacs.ir.types import Axis
from onnxslim_snacs.passes.prune import prune
from onnxslim_snacs.plan.cost import cost_model
from onnxslim_snacs.proof.difference import relative_difference
from onnxslim_snacs.proof.oracle import masked_original
from onnxslim_snacs.proof.prove import prove
from tests.harness import model_from_text, random_keep, read
from tests.properties.checks import CLOSE, Cut, cut, p2_close, p3_gather, run
from tests.properties.double import in_double, run_in_double
from tests.properties.generator import sample


def test_an_expanded_vector_stays_a_vector() -> None:
    """Expand's operand is put right by its rule, so its result must not be written down whole."""
    model = model_from_text(
        """<ir_version: 8, opset_import: ["" : 17]>
        net (float[2,5,3] x, float[3,6] w_a, float[1,1,6] w_v, float[6,2] w_b) => (float[2,5,2] y) {
          a = MatMul(x, w_a)
          s = Shape(a)
          e = Expand(w_v, s)
          t = Add(a, e)
          y = MatMul(t, w_b)
        }"""
    )
    analysis = read(model)
    keep = random_keep(analysis, 0.5, seed=1)
    pruned = prune(analysis, keep)
    floats = [t for t in pruned.graph.initializer if t.data_type == 1]
    assert sum(int(np.prod(t.dims)) for t in floats) == 3 * 3 + 3 + 3 * 2
    assert cost_model(analysis).cost(keep).params == 18


def test_8_bit_weights_in_constant_nodes_are_parameters() -> None:
    model = model_from_text(
        """<ir_version: 8, opset_import: ["" : 17]>
        net (float[N,2] x) => (float[N,3] y) {
          q = Constant<value = int8[2,3] {1, 2, 3, 4, 5, 6}>()
          s = Constant<value = float {0.5}>()
          w = DequantizeLinear(q, s)
          y = MatMul(x, w)
        }"""
    )
    analysis = read(model)
    # six weights; the scale is a single number, which is no parameter
    assert cost_model(analysis).cost(keep_map(analysis.ir, {})).params == 6


def test_the_proof_watches_no_output_that_is_left_out() -> None:
    model = model_from_text(
        """<ir_version: 8, opset_import: ["" : 17]>
        net (float[T,N,3] x, float[1,24,3] w_w, float[1,24,6] w_r, float[6,2] w_o)
            => (float[1,N,2] y) {
          , h = LSTM<hidden_size=6>(x, w_w, w_r)
          y = MatMul(h, w_o)
        }"""
    )
    analysis = read(model)
    keep = random_keep(analysis, 0.5, seed=1)
    proof = prove(analysis, keep, prune(analysis, keep))
    assert proof.passed, proof.failure


def test_axes_of_unsqueeze_may_be_a_scalar() -> None:
    model = model_from_text(
        """<ir_version: 8, opset_import: ["" : 17]>
        net (float[N,3] x, float[3,6] w_a, float[6,2] w_b) => (float[N,1,2] y) {
          a = MatMul(x, w_a)
          axis = Constant<value = int64 {1}>()
          u = Unsqueeze(a, axis)
          y = MatMul(u, w_b)
        }"""
    )
    analysis = read(model)
    assert [group.units for group in analysis.ir.groups] == [6]
    keep = random_keep(analysis, 0.5, seed=1)
    pruned = prune(analysis, keep)
    assert prove(analysis, keep, pruned).passed
    weights = {t.name: numpy_helper.to_array(t).shape for t in pruned.graph.initializer}
    assert weights == {"w_a": (3, 3), "w_b": (3, 2)}


def test_statistics_of_a_training_step_keep_their_channels() -> None:
    """What the second output is made of can only go with the first."""
    model = model_from_text(
        """<ir_version: 8, opset_import: ["" : 17]>
        net (float[N,3,4] x, float[6,3,1] w_a, float[6] w_s, float[6] w_c, float[6] w_m,
             float[6] w_d, float[2,6,1] w_b, float[6,2] w_e) => (float[N,2,4] y, float[2] z) {
          a = Conv(x, w_a)
          b, m, v = BatchNormalization<training_mode=1>(a, w_s, w_c, w_m, w_d)
          y = Conv(b, w_b)
          z = MatMul(m, w_e)
        }"""
    )
    analysis = read(model)
    assert not analysis.ir.groups
    assert "statistics of a training step" in {pin.reason for pin in analysis.ir.pins}


def test_a_constant_is_resized_in_a_model_that_cannot_be_run() -> None:
    model = model_from_text(
        """<ir_version: 8, opset_import: ["" : 17, "other" : 1]>
        net (float[1,4] x, float[1,4,2] w_a) => (float[1,4,4] y, float[1,4] z) {
          scales = Constant<value = float[3] {1.0, 1.0, 2.0}>()
          r = Resize(w_a, , scales)
          y = Identity(r)
          z = other.Odd(x)
        }"""
    )
    analysis = read(model)
    assert not analysis.facts.ran
    assert not analysis.ir.groups


def noisy() -> Cut:
    """An InstanceNormalization amplifies the rounding of what reaches it beyond CLOSE."""
    return cut(sample(4608, False))


def test_amplified_rounding_is_told_from_an_error() -> None:
    one = noisy()
    (wanted,) = run(masked_original(one.analysis, one.keep), one.feeds, 0)
    assert relative_difference(wanted, one.answers(0)[0]) > CLOSE  # else there is nothing to tell
    p2_close(one)
    p3_gather(one)


@pytest.mark.parametrize("check", [p2_close, p3_gather])
def test_an_error_is_found_under_amplified_rounding(
    check: Callable[[Cut], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last kept input of the convolution behind it is the one before."""
    right, axis = KeepMap.cut, Axis("constant_45", 1)

    def off_by_one(keep: KeepMap, name: str, array: NDArray[Any]) -> NDArray[Any]:
        shifted = keep.kept[axis].copy()
        shifted[-1] -= 1
        return right(replace(keep, kept={**keep.kept, axis: shifted}), name, array)

    monkeypatch.setattr(KeepMap, "cut", off_by_one)
    with pytest.raises(AssertionError, match="in double precision still"):
        check(noisy())


def test_every_number_of_a_model_becomes_a_double() -> None:
    model = model_from_text(
        """<ir_version: 8, opset_import: ["" : 17]>
        net (float[2,3] x, float[3] w_a, bool c) => (float[2,3] y) {
          s = Shape(x)
          z = ConstantOfShape(s)
          one = ConstantOfShape<value = float[1] {1.0}>(s)
          t = Constant<value_floats = [0.1, 0.2, 0.3]>()
          u = Constant<value_float = 0.5>()
          i = Cast<to = 7>(x)
          f = Cast<to = 1>(i)
          b = If (c) <
            then_branch = yes () => (float[2,3] p) { p = Add(f, t) },
            else_branch = no () => (float[2,3] q) { q = Mul(x, u) }
          >
          d = Sum(b, z, one, w_a)
          y = Identity(d)
        }""",
        integers=False,
    )
    x = np.array([[0.1, 1.2, -2.3], [3.4, -4.5, 5.6]], dtype=np.float32)
    w = numpy_helper.to_array(model.graph.initializer[0]).astype(np.float64)
    (got,) = run_in_double(model, {"x": x, "c": np.array(False)})
    np.testing.assert_array_equal(got, x.astype(np.float64) * 0.5 + 1.0 + w)
    kept = {t.data_type for t in model.graph.initializer}
    assert kept == {1}, "the model itself stays as it is"
    assert {t.data_type for t in in_double(model).graph.initializer} == {11}
