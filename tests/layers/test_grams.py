"""Second moments of what layers read, against patches that are laid out by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from onnxslim_snacs.activations.open_data import open_source
from onnxslim_snacs.config import DataConfig
from onnxslim_snacs.config.spending import NORMAL
from onnxslim_snacs.layers.drawn import Reading
from onnxslim_snacs.layers.grams import Gathering, read_layers
from onnxslim_snacs.layers.layers import original_layers
from onnxslim_snacs.model.session import SessionConfig
from onnxslim_snacs.progress import silent
from tests.harness import model_from_text, read, run

MODEL = """
<ir_version: 8, opset_import: ["" : 17]>
g (float[n, 2, 6, 6] x, float[4, 2, 1, 1] w_a, float[5, 4, 3, 3] w_b, float[3, 4, 3, 3] w_c,
   float[2, 4, 3, 3] w_d) => (float[n, 5, 6, 6] b, float[n, 3, 6, 6] c, float[n, 2, 2, 2] d) {
  a = Conv(x, w_a)
  b = Conv<pads = [1, 1, 1, 1]>(a, w_b)
  c = Conv<pads = [1, 1, 1, 1]>(a, w_c)
  d = Conv<strides = [2, 2]>(a, w_d)
}
"""


def test_moments_are_those_of_all_patches(tmp_path: Path) -> None:
    model = model_from_text(MODEL, integers=False)
    x = np.random.default_rng(0).standard_normal((70, 2, 6, 6)).astype(np.float32) + 1.0
    np.save(tmp_path / "x.npy", x)
    analysis = read(model)
    source = open_source(DataConfig(path=str(tmp_path / "x.npy")), analysis.graph)
    layers = [layer for _, layer in original_layers(analysis)]
    readings = [Reading(layer, layer.out) for layer in layers]
    found = read_layers(analysis, source, readings, SessionConfig(), 0, silent, NORMAL.moments)
    model.graph.output.add(name="a")
    outputs = dict(zip(["b", "c", "d", "a"], run(model, {"x": x}, 0), strict=True))
    padded = np.pad(outputs["a"], [(0, 0), (0, 0), (1, 1), (1, 1)])
    same, inner = (
        # (n, channel, y, x, tap y, tap x) -> (position, tap and channel)
        np.lib.stride_tricks.sliding_window_view(a, (3, 3), axis=(2, 3))[:, :, ::step, ::step]
        .transpose(0, 2, 3, 4, 5, 1)
        .reshape(-1, 36)
        for a, step in ((padded, 1), (outputs["a"], 2))
    )
    for layer, seen in zip(layers, found, strict=True):
        assert seen is not None
        variance = outputs.get(layer.out, outputs["a"]).var(axis=(0, 2, 3), dtype=np.float64)
        assert seen.variance == pytest.approx(variance.sum(), rel=1e-5)
        if layer.out == "a":
            continue
        rows = inner if layer.out == "d" else same
        np.testing.assert_allclose(seen.mean, rows.mean(axis=0), atol=1e-5)
        covariance = np.cov(rows, rowvar=False, bias=True)
        np.testing.assert_allclose(seen.covariance, covariance, atol=1e-4)
    by_output = {layer.out: seen for layer, seen in zip(layers, found, strict=True) if seen}
    assert by_output["b"].covariance is by_output["c"].covariance
    assert by_output["b"].covariance is not by_output["d"].covariance


@pytest.mark.parametrize(("side", "more"), [("6", set()), ("s", {"a"})])
def test_what_a_layer_makes_is_looked_at_only_where_something_depends_on_it(
    side: str, more: set[str]
) -> None:
    """A sum in any case, a convolution of changing size for its positions, a product never."""
    text = f"""
    <ir_version: 8, opset_import: ["" : 17]>
    g (float[n, 2, {side}, {side}] x, float[4, 2, 3, 3] w_a, float[4, 4, 1, 1] w_b,
       float[4, 5] w_d) => (float[n, 4, h, w] y, float[n, 5] d) {{
      a = Conv(x, w_a)
      c = Relu(a)
      b = Conv(c, w_b)
      y = Add(b, c)
      m = ReduceMean<axes = [2, 3], keepdims = 0>(y)
      d = MatMul(m, w_d)
    }}
    """
    analysis = read(model_from_text(text, integers=False))
    layers = [layer for _, layer in original_layers(analysis)]
    readings = [Reading(one, "y" if one.out == "b" else one.out) for one in layers]
    seen = Gathering(analysis, readings, 0, NORMAL.moments, 8).tensors
    assert set(seen) == {"x", "c", "y", "m"} | more
