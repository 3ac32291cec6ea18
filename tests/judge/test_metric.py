"""A measure of the user's own: asked of whole models, and steering the automatic decision."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from onnxslim_snacs import CompressConfig, DataConfig, SnacsError, compress
from onnxslim_snacs.judge.metric import open_metric
from tests.harness import model_from_text

TEXT = """<ir_version: 8, opset_import: ["" : 17]>
net (float[N,4] x, float[4,8] w_a, float[8,8] w_b, float[8,3] w_c) => (float[N,3] y) {
  a = MatMul(x, w_a)  r = Relu(a)  b = MatMul(r, w_b)  s = Relu(b)  y = MatMul(s, w_c)
}"""
X = np.random.default_rng(0).standard_normal((40, 4)).astype(np.float32)


def weights(data: bytes) -> int:
    return sum(prod(t.dims) for t in onnx.ModelProto.FromString(data).graph.initializer)


def config(metric: Callable[[bytes], Any], max_drop: float, **more: Any) -> CompressConfig:
    data = DataConfig(X)
    return CompressConfig(data=data, criterion="l1", max_drop=max_drop, metric=metric, **more)


def test_the_measure_alone_decides() -> None:
    """Of 4a + ab + 3b weights with a, b <= 8, what stays is at least 120 - 50, whatever is said."""
    asked = []

    def left(data: bytes) -> float:
        asked.append(weights(data))
        return float(asked[-1])

    done = compress(model_from_text(TEXT, integers=False), config(left, 50))
    assert asked[0] == 120  # the original first
    drift = done.report.drift
    assert drift is not None
    assert (drift.metric_before, drift.metric_after) == (120.0, float(done.report.after.params))
    assert 70 <= done.report.after.params < 120
    assert min(asked) < 70  # deeper cuts were tried, and refused
    assert drift.drop <= 50
    tried = done.report.notes["tried"]
    assert all(each["drop"] <= 50 for each in tried[-1:])


def test_it_is_measured_under_a_target_as_well() -> None:
    with_target = config(weights, 0.01, target={"macs": 0.7})
    drift = compress(model_from_text(TEXT, integers=False), with_target).report.drift
    assert drift is not None
    assert drift.metric_before == 120
    assert drift.metric_after is not None
    assert drift.metric_after < 90


def test_weights_in_files_are_read_in(tmp_path: Path) -> None:
    path = tmp_path / "big.onnx"
    onnx.save(model_from_text(TEXT), path, save_as_external_data=True, size_threshold=0)

    def first(data: bytes) -> float:
        return float(
            onnx.numpy_helper.to_array(onnx.load_from_string(data).graph.initializer[0])[0, 0]
        )

    wanted = float(onnx.numpy_helper.to_array(onnx.load(path).graph.initializer[0])[0, 0])
    proto = onnx.load(path, load_external_data=False)
    assert open_metric(first, proto, tmp_path).before == wanted


def fails(data: bytes) -> float:
    raise ValueError("no images")


@pytest.mark.parametrize(
    ("metric", "says"),
    [
        (fails, r"CompressConfig\.metric failed: ValueError: no images"),
        (lambda data: None, r"CompressConfig\.metric gave None \(NoneType\), expected a finite"),
        (lambda data: float("nan"), r"CompressConfig\.metric gave nan"),
        (lambda data: True, r"CompressConfig\.metric gave True"),
        (lambda data: np.ones(2), r"CompressConfig\.metric failed: ValueError"),
        (3, r"CompressConfig\.metric: got 3 \(int\), expected a function"),
        ("nowhere:to_be_found", r"--judge nowhere:to_be_found: No module named"),
        ("no function", r"--judge no function: expected module:function"),
    ],
)
def test_what_is_no_measure_is_refused(metric: Any, says: str) -> None:
    with pytest.raises(SnacsError, match=says):
        compress(model_from_text(TEXT), config(metric, 0.5))


def test_numbers_of_other_libraries_are_numbers() -> None:
    found: list[tuple[Any, float]] = [(np.float32(0.5), 0.5), (np.array([2]), 2.0), (7, 7.0)]
    for number, wanted in found:
        assert open_metric(partial(given, number), model_from_text(TEXT), None).before == wanted


def given(number: Any, data: bytes) -> Any:
    return number
