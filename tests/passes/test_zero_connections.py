"""Zeros in connections, and the units that nothing reads after that."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import ModelProto, numpy_helper

from onnxslim_snacs.decide.dead import without_dead_units
from onnxslim_snacs.ir.keep import keep_map
from onnxslim_snacs.ir.types import BoolArray
from onnxslim_snacs.model.graph import ModelGraph
from onnxslim_snacs.model.session import SessionConfig, create_session
from onnxslim_snacs.ops.analyse import Analysis, analyse
from onnxslim_snacs.passes.prune import prune
from onnxslim_snacs.passes.zero_connections import zero_connections
from tests.harness import model_from_text

HEAD = '<ir_version: 8, opset_import: ["" : 17]>\n'
TWICE = (
    HEAD
    + """net (float[2, 3] x, float[3, 3] w_a) => (float[2, 3] y) {
  a = MatMul(x, w_a)
  b = Relu(a)
  y = MatMul(b, w_a)
}"""
)
DEPTHWISE = (
    HEAD
    + """net (float[N, 3, 6, 6] x, float[4, 3, 1, 1] w_a, float[4, 1, 3, 3] w_d,
       float[5, 4, 1, 1] w_b, float[2, 4, 1, 1] w_c) => (float[N, 5, 4, 4] y, float[N, 2, 4, 4] z) {
  a = Conv(x, w_a)
  d = Conv<group = 4>(a, w_d)
  y = Conv(d, w_b)
  z = Conv(d, w_c)
}"""
)


def weights(model: ModelProto) -> dict[str, np.ndarray]:
    return {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}


def outputs(model: ModelProto, x: np.ndarray) -> list[np.ndarray]:
    session = create_session(model, SessionConfig(level=0))
    return [np.asarray(o) for o in session.run(None, {"x": x})]


def column(children: int, parents: int, dead: int) -> BoolArray:
    mask = np.zeros((children, parents), dtype=bool)
    mask[:, dead] = True
    return mask


def positive(text: str) -> Analysis:
    """No weight is zero by chance."""
    model = model_from_text(text)
    for tensor in model.graph.initializer:
        array = np.abs(numpy_helper.to_array(tensor)) + np.float32(1)
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    return analyse(ModelGraph(model))


def test_only_the_connections_go() -> None:
    analysis = positive(DEPTHWISE)
    before = weights(analysis.graph.proto)
    mask = np.random.default_rng(0).random((5, 4)) < 0.5
    model = zero_connections(analysis, {2: mask})
    after = weights(model)
    assert list(after) == list(before)
    assert np.array_equal(after["w_b"], before["w_b"] * ~mask[:, :, None, None])
    assert all(np.array_equal(after[n], before[n]) for n in ("w_a", "w_d", "w_c"))
    assert np.array_equal(weights(analysis.graph.proto)["w_b"], before["w_b"])


def test_another_reader_of_the_weight_keeps_it() -> None:
    analysis = positive(TWICE)
    x = np.ones((2, 3), dtype=np.float32)
    mask = np.array([[True, False, False], [False, False, True], [False, True, False]])
    model = zero_connections(analysis, {2: mask})
    whole = weights(analysis.graph.proto)["w_a"]
    expected = np.maximum(x @ whole, 0) @ (whole * ~mask.T)  # MatMul has (met, made)
    assert np.array_equal(outputs(model, x)[0], expected)


@pytest.mark.parametrize(("readers", "stays"), [((2,), 4), ((3,), 4), ((2, 3), 3)])
def test_units_go_when_nothing_reads_them(readers: tuple[int, ...], stays: int) -> None:
    analysis = positive(DEPTHWISE)
    extents = {2: 5, 3: 2}
    goes = {position: column(extents[position], 4, 1) for position in readers}
    zeroed = zero_connections(analysis, goes)
    whole = analyse(ModelGraph(zeroed))
    kept = without_dead_units(whole)
    assert [int(mask.sum()) for mask in kept.values()] == [stays]
    small = prune(whole, keep_map(whole.ir, kept))
    x = np.random.default_rng(1).integers(-3, 4, (2, 3, 6, 6)).astype(np.float32)
    for a, b in zip(outputs(zeroed, x), outputs(small, x), strict=True):
        assert np.array_equal(a, b)


def test_one_unit_stays() -> None:
    analysis = positive(DEPTHWISE)
    goes = {2: np.ones((5, 4), dtype=bool), 3: np.ones((2, 4), dtype=bool)}
    kept = without_dead_units(analyse(ModelGraph(zero_connections(analysis, goes))))
    assert [int(mask.sum()) for mask in kept.values()] == [1]
