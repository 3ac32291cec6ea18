"""What is drawn where torch computes is what numpy draws, number by number."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import ModelProto

from onnxslim_snacs.activations.open_data import open_source
from onnxslim_snacs.activations.run import execute, execute_staying, open_session
from onnxslim_snacs.arithmetic.current import computing
from onnxslim_snacs.arithmetic.on_torch import torch_on
from onnxslim_snacs.config import DataConfig
from onnxslim_snacs.config.spending import NORMAL
from onnxslim_snacs.layers.drawn import Reading
from onnxslim_snacs.layers.grams import Gathering, read_layers
from onnxslim_snacs.layers.layers import original_layers
from onnxslim_snacs.layers.rows import layer_rows, target_rows
from onnxslim_snacs.layers.rows_there import picked_there, rows_there
from onnxslim_snacs.model.session import SessionConfig
from onnxslim_snacs.progress import silent
from tests.harness import model_from_text, read, run
from tests.layers.test_rows import CASES, one_layer

torch = pytest.importorskip("torch")

#: A sum, into which `b` runs, is looked at as well; `d` steps over its input, `e` spreads it.
MODEL = """
<ir_version: 8, opset_import: ["" : 17]>
g (float[n, 2, 6, 6] x, float[4, 2, 1, 1] w_a, float[4, 4, 3, 3] w_b, float[2, 4, 3, 3] w_d,
   float[4, 3, 2, 2] w_e) => (float[n, 4, 6, 6] y, float[n, 2, 3, 3] d, float[n, 3, 12, 12] e) {
  a = Conv(x, w_a)
  b = Conv<pads = [1, 1, 1, 1]>(a, w_b)
  y = Add(a, b)
  d = Conv<pads = [1, 1, 1, 1], strides = [2, 2]>(a, w_d)
  e = ConvTranspose<strides = [2, 2]>(a, w_e)
}
"""


@pytest.fixture
def model() -> ModelProto:
    return model_from_text(MODEL, integers=False)


@pytest.mark.parametrize("case", [case for case in CASES if "group" not in str(CASES[case])])
def test_rows_are_those_of_numpy(case: str) -> None:
    op, data, weight, attributes = CASES[case]
    model, x = one_layer(op, data, weight, **attributes)
    ((_, layer),) = original_layers(read(model))
    (y,) = run(model, {"x": x}, 0)
    positions = y.size // layer.outputs
    chosen = np.random.default_rng(1).permutation(positions)[: max(3, positions // 2)]
    node = model.graph.node[0]
    found = rows_there(layer, node, torch.from_numpy(x), y.shape, chosen)
    np.testing.assert_array_equal(
        found.numpy(), layer_rows(layer, node, x, y.shape, chosen)[0], strict=True
    )
    wanted = picked_there(torch.from_numpy(y), layer.out_dim, chosen)
    np.testing.assert_array_equal(
        wanted.numpy(), target_rows(y, layer.out_dim, 1, chosen)[0], strict=True
    )


def test_rows_of_nothing_are_none() -> None:
    assert picked_there(torch.zeros((0, 3, 4)), 1, np.arange(0)).shape == (0, 3)


def test_outputs_stay_where_they_are_computed(model: ModelProto) -> None:
    """As tensors of torch on ONNX Runtime's own memory, and the others as arrays."""
    x = np.random.default_rng(0).standard_normal((3, 2, 6, 6)).astype(np.float32)
    session = open_session(model, SessionConfig(), watched=["a"])
    names = ["d", "a", "y"]
    plain = execute(session, names, {"x": x})
    found = execute_staying(session, names, {"x": x}, ["a"], "cpu")
    assert [type(value) for value in found] == [np.ndarray, torch.Tensor, np.ndarray]
    for a, b in zip(plain, found, strict=True):
        assert a.tobytes() == np.asarray(b).tobytes()


def test_moments_of_what_stays(model: ModelProto, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of numpy, of the same rows; and nothing that is watched came as an array."""
    looked: list[object] = []
    look = Gathering.look

    def noted(self: Gathering, number: int, values: dict[str, object]) -> object:
        looked.extend(values[name] for name in ("a", "y"))
        return look(self, number, values)

    monkeypatch.setattr(Gathering, "look", noted)
    analysis = read(model)
    source = open_source(DataConfig(samples=40), analysis.graph, facts=analysis.facts)
    readings = [
        Reading(layer, "y" if layer.out == "b" else layer.out)
        for _, layer in original_layers(analysis)
    ]
    given = analysis, source, readings, SessionConfig(), 0, silent, NORMAL.moments
    expected = read_layers(*given)
    assert {type(value) for value in looked} == {np.ndarray}
    looked.clear()
    with computing(torch_on("cpu"), 1):
        found = read_layers(*given)
    assert {type(value) for value in looked} == {torch.Tensor}
    for want, got in zip(expected, found, strict=True):
        assert want is not None
        assert got is not None
        np.testing.assert_allclose(got.mean, want.mean, rtol=1e-9)
        np.testing.assert_allclose(got.covariance, want.covariance, rtol=0, atol=1e-5)
        assert got.variance == pytest.approx(want.variance, rel=1e-6)
