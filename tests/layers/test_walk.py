from __future__ import annotations

import numpy as np
import pytest
from onnx import helper, numpy_helper

from onnxslim_snacs.layers.live import LiveTensors
from onnxslim_snacs.layers.walk import Walk, start_walk
from onnxslim_snacs.model.session import SessionConfig
from tests.harness import model_from_text, run

MODEL = """
<ir_version: 8, opset_import: ["" : 17]>
g (float[n, 3, 6, 6] x, float[4, 3, 3, 3] w_a, float[4, 4, 3, 3] w_b) => (float[n, 4, 6, 6] y) {
  size = Shape(x)
  a = Conv<pads = [1, 1, 1, 1]>(x, w_a)
  ra = Relu(a)
  two = Constant<value_float = 2.0>()
  doubled = Mul(ra, two)
  b = Conv<pads = [1, 1, 1, 1]>(ra, w_b)
  y = Add(b, doubled)
}
"""
TENSORS = ["size", "a", "ra", "doubled", "b", "y"]


def walk_over(wanted: list[str], batches: int = 3) -> tuple[Walk, list[dict[str, np.ndarray]]]:
    model = model_from_text(MODEL)
    walk = start_walk(model, None, SessionConfig(level=0), wanted)
    rng = np.random.default_rng(0)
    feeds = [{"x": rng.standard_normal((2, 3, 6, 6)).astype(np.float32)} for _ in range(batches)]
    for feed in feeds:
        walk.feed(feed)
    return walk, feeds


def test_pieces_give_what_the_whole_gives() -> None:
    walk, feeds = walk_over(TENSORS)
    whole = model_from_text(MODEL)
    whole.graph.output.extend(helper.make_empty_tensor_value_info(n) for n in TENSORS[:-1])
    wanted = [dict(zip(["y", *TENSORS[:-1]], run(whole, f, 0), strict=True)) for f in feeds]
    for name in TENSORS:
        walk.require([name])
        for number, outputs in enumerate(wanted):
            np.testing.assert_array_equal(walk.live[name][number], outputs[name])
        walk.release(name)
    assert not any(name in walk.live for name in ("x", *TENSORS))
    assert walk.live.used == 0


def test_only_what_is_still_read_stays_alive() -> None:
    walk, _ = walk_over(["b", "y"])
    walk.require(["b"])
    assert [name for name in ("x", *TENSORS) if name in walk.live] == ["ra", "b"]
    walk.release("b")
    assert "b" in walk.live  # y is still to be made of it


def test_a_peek_leaves_no_trace() -> None:
    walk, _ = walk_over(["b"])
    walk.require(["ra"])
    first = [value.copy() for value in walk.peek("b")]
    w = next(t for t in walk.model.graph.initializer if t.name == "w_b")
    w.CopyFrom(numpy_helper.from_array(3 * numpy_helper.to_array(w), "w_b"))
    walk.require(["b"])
    np.testing.assert_allclose(walk.live["b"][0], 3 * first[0], rtol=1e-4, atol=1e-4)


def test_a_node_can_be_put_in_on_the_way() -> None:
    walk, _ = walk_over(["b", "y"])
    walk.require(["ra"])
    walk.node("b").output[0] = "half"
    walk.insert(helper.make_node("Neg", ["half"], ["b"]), walk.producer["b"] + 1)
    plain, _ = walk_over(["b", "y"])
    for one in (walk, plain):
        one.require(["b"])
        one.require(["y"])
    np.testing.assert_array_equal(walk.live["b"][1], -plain.live["b"][1])
    doubled = plain.live["y"][1] - plain.live["b"][1]
    np.testing.assert_allclose(walk.live["y"][1], walk.live["b"][1] + doubled, atol=1e-5)


@pytest.mark.parametrize("after", [[], ["ra"], ["ra", "doubled"], ["size", "b"], ["y"]])
def test_batches_that_join_come_as_far_as_the_others_have(after: list[str]) -> None:
    wanted = ["size", "ra", "doubled", "b", "y"]
    walk, feeds = walk_over(wanted, 2)
    w = next(t for t in walk.model.graph.initializer if t.name == "w_a")
    w.CopyFrom(numpy_helper.from_array(2 * numpy_helper.to_array(w), "w_a"))
    for name in after:
        walk.require([name])
    rng = np.random.default_rng(1)
    later = [{"x": rng.standard_normal((k, 3, 6, 6)).astype(np.float32)} for k in (3, 2)]
    walk.join(later)
    assert walk.batches == 4
    for name in wanted:
        walk.require([name])
    whole = walk_over(wanted, 0)[0].model
    whole.CopyFrom(walk.model)
    whole.graph.output.extend(helper.make_empty_tensor_value_info(n) for n in wanted[:-1])
    for number, feed in enumerate([*feeds, *later]):
        for name, value in zip(["y", *wanted[:-1]], run(whole, feed, 0), strict=True):
            np.testing.assert_allclose(walk.live[name][number], value, rtol=1e-5, atol=1e-5)
    for name in wanted:
        walk.release(name)
    assert walk.live.names() == ()
    assert walk.live.used == 0


@pytest.mark.parametrize("budget", [0, 500, 10_000])
def test_what_does_not_fit_goes_to_files(budget: int) -> None:
    live = LiveTensors(budget)
    values = [np.arange(n, dtype=np.float32).reshape(1, n) for n in (1, 100, 400, 0)]
    for value in values:
        live.append("t", value)
    assert live.used <= budget
    for got, value in zip(live["t"], values, strict=True):
        np.testing.assert_array_equal(got, value)
    assert any(isinstance(v, np.memmap) for v in live["t"]) == (budget < 2000)
    live.drop("t")
    assert live.used == 0
    assert "t" not in live
