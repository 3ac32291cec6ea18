"""What is known of shapes, with a run and without one."""

from __future__ import annotations

import pytest

from tests.harness import model_from_text, random_keep, read

NET = """<ir_version: 8, opset_import: ["" : 17, "other" : 1]>
net (float[N,4] x, float[4,6] w_a, float[2,3,4] w_b, float[4,5] w_c) => (float[N,6] y, float[6,5] z)
<int64[2] flat = {{6, 4}}> {{
  a = MatMul(x, w_a)
  y = {op}(a)
  r = Reshape(w_b, flat)
  z = MatMul(r, w_c)
}}"""


def test_samples_of_all_tensors_are_of_the_same_runs() -> None:
    facts = read(model_from_text(NET.format(op="Relu"))).facts
    assert facts.ran
    assert facts.samples("x") == ((2, 4), (5, 4))
    assert facts.samples("w_a") == ((4, 6), (4, 6))
    assert facts.samples("y") == ((2, 6), (5, 6))
    assert facts.samples("no such tensor") == ()


@pytest.mark.parametrize("tensor", ["x", "w_a", "a", "w_b", "flat", "r", "z"])
def test_a_model_that_was_not_run_has_no_samples(tensor: str) -> None:
    facts = read(model_from_text(NET.format(op="other.Odd"))).facts
    assert not facts.ran
    assert facts.samples(tensor) == ()
    assert facts.shape(tensor) is not None


def test_stored_tensors_lose_channels_without_a_run() -> None:
    """A weight is reshaped: its shape is known, and so is that of the result."""
    analysis = read(model_from_text(NET.format(op="other.Odd")))
    assert [group.units for group in analysis.ir.groups] == [4]
    keep = random_keep(analysis, 0.5, seed=1)
    assert {axis.tensor: len(index) for axis, index in keep.kept.items()} == {
        "w_b": 2,
        "r": 2,
        "w_c": 2,
    }
