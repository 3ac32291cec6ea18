"""What static inference says of shapes is what a run says, wherever it says anything."""

from __future__ import annotations

import numpy as np
import pytest

from onnxslim_snacs.errors import InputRefused, LimitExceeded
from onnxslim_snacs.model import inferred as module
from onnxslim_snacs.model.constants import constant_tensors
from onnxslim_snacs.model.functions import inlined
from onnxslim_snacs.model.graph import ModelGraph
from onnxslim_snacs.model.inferred import inferred, told_alike
from onnxslim_snacs.model.reading import read_facts
from onnxslim_snacs.model.sizes import default_sizes
from onnxslim_snacs.ops.analyse import analyse
from tests.harness import Fixture, fixtures, model_from_text


@pytest.mark.parametrize("fixture", fixtures(), ids=lambda f: f.title)
def test_inference_never_contradicts_a_run(
    fixture: Fixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = inlined(ModelGraph(fixture.model))
    facts = read_facts(graph)  # by runs: small models are run
    assert facts.settled is not None
    monkeypatch.setattr(module, "LARGE", 0)
    for trial in facts.settled.trials:
        told = inferred(graph, trial.sizes, facts.by_shape, frozenset(trial.values))
        assert told is None or told_alike(told, (trial.shapes, trial.values))


COMPUTED = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[N,6,4,4] x) => (float[A,B,C] y)
<int64[1] zero = {0}, int64[1] one = {1}, int64[1] minus = {-1}, int64[1] two = {2}> {
  s = Shape(x)
  n = Slice(s, zero, one)
  c = Slice(s, one, two)
  half = Div(c, two)
  shape = Concat<axis=0>(n, half, minus)
  y = Reshape(x, shape)
}
"""


def test_what_exporters_compute_at_run_time_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = ModelGraph(model_from_text(COMPUTED))
    facts = read_facts(graph)
    monkeypatch.setattr(module, "LARGE", 0)
    told = inferred(graph, {"x": (5, 6, 4, 4)}, facts.by_shape, frozenset({"shape"}))
    assert told is not None
    assert told[0]["y"] == (5, 3, 32)
    assert told[1]["shape"].tolist() == [5, 3, -1]


def test_small_models_are_run() -> None:
    graph = ModelGraph(model_from_text(COMPUTED))
    facts = read_facts(graph)
    assert inferred(graph, {"x": (5, 6, 4, 4)}, facts.by_shape, frozenset()) is None


def test_what_depends_on_data_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    text = """
    <ir_version: 8, opset_import: ["" : 17]>
    net (float[2,3] x) => (int64[2,K] y) { y = NonZero(x) }
    """
    monkeypatch.setattr(module, "LARGE", 0)
    graph = ModelGraph(model_from_text(text))
    assert inferred(graph, {"x": (2, 3)}, frozenset(), frozenset()) is None


def test_differences_are_seen() -> None:
    one = ({"a": (1, 2)}, {"v": np.array([3])})
    assert told_alike(one, ({"a": (1, 2), "b": (4,)}, {"v": np.array([3])}))
    assert not told_alike(one, ({"a": (1, 3)}, {"v": np.array([3])}))
    assert not told_alike(one, ({"a": (1, 2)}, {"v": np.array([4])}))
    assert not told_alike(one, ({"a": (1, 2)}, {}))


def test_most_fixtures_are_known_without_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LARGE", 0)
    known = 0
    for fixture in fixtures():
        graph = inlined(ModelGraph(fixture.model))
        constant, weights = constant_tensors(graph)
        sizes = default_sizes(graph, {})
        known += inferred(graph, sizes, constant, constant - weights) is not None
    assert known > len(fixtures()) // 2


def test_a_tensor_that_no_run_could_make_is_refused_before_any() -> None:
    text = """
    <ir_version: 8, opset_import: ["" : 17]>
    net (float[1,3] x) => (float[A,B] y) <int64[2] k = {1000, 1000}> {
      many = Mul(k, k)
      y = Tile(x, many)
    }
    """
    with pytest.raises(LimitExceeded, match=r"tensor y has the shape \(1000000, 3000000\)"):
        read_facts(ModelGraph(model_from_text(text)))


def test_what_was_inferred_and_does_not_run_is_no_fault_of_ours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Inference does not look at whether a convolution fits its weights, nor at indices."""
    monkeypatch.setattr(module, "LARGE", 0)
    text = """
    <ir_version: 8, opset_import: ["" : 17]>
    net (float[1,2,8,8] x, float[4,3,3,3] w) => (float[1,4,6,6] y) { y = Conv(x, w) }
    """
    with pytest.raises(InputRefused, match=r"ONNX Runtime cannot run this model: .*Conv node"):
        analyse(ModelGraph(model_from_text(text)))
