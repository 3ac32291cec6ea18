"""The damage of single units, against numbers worked out without the package."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from scipy import stats

from onnxslim_snacs.activations.open_data import open_source
from onnxslim_snacs.activations.sources import CalibrationSource
from onnxslim_snacs.config import DataConfig
from onnxslim_snacs.judge.damage import damage_correlation, spearman, unit_damage
from onnxslim_snacs.model.graph import ModelGraph
from onnxslim_snacs.model.session import SessionConfig
from onnxslim_snacs.ops.analyse import analyse
from tests.harness import model_from_text

HEAD = '<ir_version: 8, opset_import: ["" : 17]>\n'
NET = (
    HEAD
    + """net (float[N,4] x, float[4,8] w_a, float[8,3] w_b) => (float[N,3] y) {
  a = MatMul(x, w_a)  r = Relu(a)  y = MatMul(r, w_b)
}"""
)
TWO_READERS = (
    HEAD
    + """net (float[N,4,5,5] x, float[6,4,1,1] w_a, float[3,6,3,3] w_b, float[2,6,1,1] w_c)
  => (float[N,3,3,3] y, float[N,2,5,5] z) {
  a = Conv(x, w_a)  r = Relu(a)  y = Conv(r, w_b)  z = Conv(r, w_c)
}"""
)


def opened(
    text: str, shape: tuple[int, ...], tmp_path: object
) -> tuple[onnx.ModelProto, CalibrationSource, np.ndarray]:
    model = model_from_text(text, integers=False)
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    path = f"{tmp_path}/x.npz"
    np.savez(path, x=x)
    return model, open_source(DataConfig(path=path), ModelGraph(model)), x


def weights(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {t.name: numpy_helper.to_array(t).astype(float) for t in model.graph.initializer}


def test_damage_of_a_linear_reader_is_its_brute_force(tmp_path: object) -> None:
    model, source, x = opened(NET, (64, 4), tmp_path)
    analysis = analyse(ModelGraph(model))
    found = unit_damage(analysis, source, source, SessionConfig())
    (group,) = analysis.ir.groups
    w = weights(model)
    r = np.maximum(x @ w["w_a"], 0)
    y = r @ w["w_b"]
    spread = np.square(y - y.mean(axis=0)).sum()
    raw = [np.square(np.outer(r[:, u], w["w_b"][u])).sum() / spread for u in range(8)]
    assert found.raw[group.id] == pytest.approx(raw, rel=1e-4)
    refit = []
    for unit in range(8):
        others = np.column_stack([np.ones(64), np.delete(r, unit, axis=1)])
        left = y - others @ np.linalg.lstsq(others, y, rcond=None)[0]
        refit.append(np.square(left).sum() / spread)
    # the ridge of a thousandth, and no more
    assert found.refit[group.id] == pytest.approx(refit, rel=0.05)
    assert (found.refit[group.id] > np.array(refit) - 1e-9).all()


def test_all_readers_are_refitted(tmp_path: object) -> None:
    model, source, _ = opened(TWO_READERS, (40, 4, 5, 5), tmp_path)
    analysis = analyse(ModelGraph(model))
    found = unit_damage(analysis, source, source, SessionConfig(), units=3)
    (name,) = found.raw
    assert found.units[name].tolist() == [0, 2, 4]
    assert (found.refit[name] < 0.9 * found.raw[name]).all()


def test_correlation_is_that_of_ranks_and_the_mean_over_groups() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 5, 12).astype(float), rng.random(12)
    assert spearman(a, b) == pytest.approx(stats.spearmanr(a, b).statistic)
    assert spearman(np.ones(4), np.arange(4.0)) == 0.0
    scores = {"g": np.arange(6.0), "h": -np.arange(6.0)}
    damage = {"g": np.array([1.0, 2.0, 5.0]), "h": np.array([1.0, 2.0])}
    units = {"g": np.array([0, 2, 4]), "h": np.array([0, 1])}
    assert damage_correlation(scores, damage, units) == pytest.approx(0.0)
    assert damage_correlation(scores, {"g": damage["g"]}, units) == pytest.approx(1.0)
    assert damage_correlation(scores, {}, units) is None
