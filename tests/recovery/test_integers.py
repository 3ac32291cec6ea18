"""Models that compute with integers: the float form is the same function, and recovery helps."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import ModelProto

from onnxslim_snacs.activations.open_data import open_source
from onnxslim_snacs.config import DataConfig
from onnxslim_snacs.ir.keep import keep_map
from onnxslim_snacs.layers.consumers import consumer_moments
from onnxslim_snacs.layers.floated import floated
from onnxslim_snacs.layers.twins import twin_keep, twin_of
from onnxslim_snacs.model.graph import ModelGraph
from onnxslim_snacs.model.session import SessionConfig
from onnxslim_snacs.ops.analyse import Analysis
from onnxslim_snacs.passes.prune import prune
from onnxslim_snacs.recovery.jobs import Cut
from onnxslim_snacs.recovery.methods import recover_least_squares
from onnxslim_snacs.recovery.touched import touched
from tests.harness import model_from_text, read, run

quantization = pytest.importorskip("onnxruntime.quantization")

FLOAT = """
<ir_version: 8, opset_import: ["" : 17]>
g (float[n, 3, 8, 8] x, float[12, 3, 3, 3] w_a, float[12] w_s, float[12, 12, 3, 3] w_b,
   float[12] w_t, float[16, 12] w_f, float[16] w_g, float[16, 5] w_h) => (float[n, 5] y) {
  a = Conv<pads = [1, 1, 1, 1]>(x, w_a, w_s)
  ra = Relu(a)
  b = Conv(ra, w_b, w_t)
  rb = Relu(b)
  p = GlobalAveragePool(rb)
  f = Flatten(p)
  g1 = Gemm<transB = 1>(f, w_f, w_g)
  rg = Relu(g1)
  y = MatMul(rg, w_h)
}
"""
FORMS = ["QDQ", "QOperator", "dynamic"]


def samples() -> NDArray[np.float32]:
    """Values that are mixtures of five: what goes can be had from what stays."""
    rng = np.random.default_rng(0)
    few, mixture = rng.standard_normal((96, 5)), rng.standard_normal((5, 3 * 64))
    return (few @ mixture / 2).reshape(96, 3, 8, 8).astype(np.float32)


class Reader(quantization.CalibrationDataReader):  # type: ignore[name-defined, misc]
    def __init__(self) -> None:
        self.batches: Iterator[NDArray[np.float32]] = iter(np.split(samples(), 4))

    def get_next(self) -> dict[str, Any] | None:
        batch = next(self.batches, None)
        return None if batch is None else {"x": batch}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ModelProto]:
    """The float model and its quantised forms."""
    folder = tmp_path_factory.mktemp("integers")
    model = model_from_text(FLOAT, integers=False)
    for tensor in model.graph.initializer:
        array = onnx.numpy_helper.to_array(tensor)
        inner = max(1, array[0].size if array.ndim > 1 else 1)
        tensor.CopyFrom(onnx.numpy_helper.from_array(array / float(inner) ** 0.5, tensor.name))
    onnx.save(model, folder / "float.onnx")
    logging.disable(logging.WARNING)
    for form in ("QDQ", "QOperator"):
        quantization.quantize_static(
            folder / "float.onnx",
            folder / f"{form}.onnx",
            Reader(),
            quant_format=quantization.QuantFormat[form],
            per_channel=True,
            weight_type=quantization.QuantType.QInt8,
            activation_type=quantization.QuantType.QUInt8,
        )
    quantization.quantize_dynamic(folder / "float.onnx", folder / "dynamic.onnx")
    logging.disable(logging.NOTSET)
    return {form: onnx.load(folder / f"{form}.onnx") for form in ("float", *FORMS)}


def half(analysis: Analysis) -> Any:
    return keep_map(
        analysis.ir, {g.id: np.arange(g.units) < g.units // 2 for g in analysis.ir.groups}
    )


def error(analysis: Analysis, model: ModelProto) -> float:
    feeds = {"x": samples()[72:]}
    (wanted,), (got,) = run(analysis.graph.proto, feeds, 0), run(model, feeds, 0)
    return float(np.linalg.norm(got - wanted) / np.linalg.norm(wanted))


def make_cut(tmp_path: Path, model: ModelProto) -> Cut:
    analysis = read(model)
    np.save(tmp_path / "x.npy", samples()[:72])
    source = open_source(DataConfig(path=str(tmp_path / "x.npy")), analysis.graph)
    keep = half(analysis)
    return Cut(analysis, keep, prune(analysis, keep), source)


@pytest.mark.parametrize(("form", "tolerance"), [("QOperator", 0.01), ("dynamic", 0.03)])
def test_the_float_form_is_the_same_function(
    models: dict[str, ModelProto], form: str, tolerance: float
) -> None:
    """But for the steps of the quantisers, 1/255 of the range, which the float form has not all."""
    graph = ModelGraph(models[form])
    found = floated(graph)
    assert found is not None
    kinds = {node.op_type for node in found.model.graph.node}
    assert "Conv" in kinds
    assert not kinds & {"QLinearConv", "QGemm", "QLinearMatMul", "ConvInteger", "MatMulInteger"}
    feeds = {"x": samples()}
    (wanted,), (got,) = run(models[form], feeds, 0), run(found.model, feeds, 0)
    assert np.abs(got - wanted).max() < tolerance * np.abs(wanted).max()


def test_a_float_model_has_no_other_form(models: dict[str, ModelProto]) -> None:
    assert floated(ModelGraph(models["float"])) is None
    assert twin_of(read(models["float"])) is None


@pytest.mark.parametrize("form", ["QOperator", "dynamic"])
def test_what_is_kept_is_kept_in_both_forms(models: dict[str, ModelProto], form: str) -> None:
    analysis = read(models[form])
    twin, keep = twin_of(analysis), half(analysis)
    assert twin is not None
    there = twin_keep(analysis, twin, keep)
    assert there is not None
    assert sorted(g.units for g in twin.ir.groups) == sorted(g.units for g in analysis.ir.groups)
    shared = [axis for axis in keep.kept if twin.facts.shape(axis.tensor) is not None]
    assert shared
    for axis in shared:
        np.testing.assert_array_equal(there.index(axis), keep.index(axis))


@pytest.mark.parametrize("form", FORMS)
def test_recovery_brings_integers_as_near_as_floats(
    models: dict[str, ModelProto], tmp_path: Path, form: str
) -> None:
    twin = make_cut(tmp_path, models["float"])
    cut = make_cut(tmp_path, models[form])
    floats = error(twin.analysis, recover_least_squares(twin).model)
    recovered = recover_least_squares(cut)
    assert all(layer.kept for layer in recovered.layers)
    assert error(cut.analysis, recovered.model) < floats + 0.05
    assert error(cut.analysis, cut.model) > 1.0
    before, after = ([n.op_type for n in m.graph.node] for m in (cut.model, recovered.model))
    added = ["Add"] if form == "QDQ" else []  # the bias of a MatMul that has none
    assert sorted([*before, *added]) == sorted(after)
    types = {t.name: (t.data_type, list(t.dims)) for t in cut.model.graph.initializer}
    new = {t.name: (t.data_type, list(t.dims)) for t in recovered.model.graph.initializer}
    assert types == {name: new[name] for name in types}
    assert touched(cut.analysis, cut.keep, cut.model, recovered.model).wrong == ""


@pytest.mark.parametrize("form", FORMS)
def test_costs_after_a_refit_are_known_for_the_same_groups(
    models: dict[str, ModelProto], tmp_path: Path, form: str
) -> None:
    cut = make_cut(tmp_path, models[form])
    found = consumer_moments(cut.analysis, cut.source, SessionConfig())
    read_axes = {axis for axis in found if cut.keep.index(axis) is not None}
    groups = [g.id for g in cut.analysis.ir.groups if any(g.on(a) is not None for a in read_axes)]
    assert groups == [g.id for g in cut.analysis.ir.groups]
