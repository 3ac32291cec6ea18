"""Statistics of normalisations taken anew, beside the same in NumPy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper

from onnxslim_snacs import DataConfig
from onnxslim_snacs.activations.open_data import open_source
from onnxslim_snacs.commands.finetune import finetune
from onnxslim_snacs.config import FinetuneConfig
from onnxslim_snacs.model.graph import ModelGraph
from onnxslim_snacs.torch_graph.network import open_network
from onnxslim_snacs.training.batch_statistics import statistics_anew

TEXT = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[N,2,3,3] x) => (float[N,2,3,3] y) {
  a = BatchNormalization<epsilon=0.0>(x, g1, b1, m1, v1)
  r = Relu(a)
  y = BatchNormalization<epsilon=0.0>(r, g2, b2, m2, v2)
}
"""
VECTORS = {
    "g1": [2.0, -1.0], "b1": [0.5, 1.0], "m1": [9.0, 9.0], "v1": [9.0, 9.0],
    "g2": [1.0, 1.0], "b2": [0.0, 0.0], "m2": [9.0, 9.0], "v2": [9.0, 9.0],
}  # fmt: skip
Values = NDArray[np.float64]


def model(renamed: Callable[[str], str] = str) -> onnx.ModelProto:
    made = onnx.parser.parse_model(TEXT)
    for node in made.graph.node:
        node.input[:] = [renamed(name) for name in node.input]
    for name, values in VECTORS.items():
        vector = np.array(values, np.float32)
        made.graph.initializer.append(numpy_helper.from_array(vector, name))
    return made


def samples(path: Path, count: int) -> NDArray[np.float32]:
    drawn = np.random.default_rng(0).standard_normal((count, 2, 3, 3)) * [[[[1.0]], [[3.0]]]] + 2
    np.savez(path, x=drawn.astype(np.float32))
    return drawn.astype(np.float32)


def measure(made: onnx.ModelProto, data: Path, size: int) -> dict[str, Values]:
    graph = ModelGraph(made)
    network = open_network(graph)
    source = open_source(DataConfig(str(data)), graph, seed=0)
    return {k: v.numpy() for k, v in statistics_anew(network, {}, source, size).items()}


def normalised(x: Values, scale: list[float], bias: list[float]) -> Values:
    mean, var = x.mean((0, 2, 3), keepdims=True), x.var((0, 2, 3), keepdims=True)
    g, b = (np.array(v).reshape(1, -1, 1, 1) for v in (scale, bias))
    made: Values = (x - mean) / np.sqrt(var) * g + b
    return made


def test_each_layer_is_measured_behind_layers_that_are_normalised(tmp_path: Path) -> None:
    x = samples(tmp_path / "x.npz", 6).astype(np.float64)
    found = measure(model(), tmp_path / "x.npz", 6)
    inner = np.maximum(normalised(x, VECTORS["g1"], VECTORS["b1"]), 0.0)
    for name, wanted in (
        ("m1", x.mean((0, 2, 3))),
        ("v1", x.var((0, 2, 3))),
        ("m2", inner.mean((0, 2, 3))),
        ("v2", inner.var((0, 2, 3))),
    ):
        np.testing.assert_allclose(found[name], wanted, rtol=1e-5, err_msg=name)


def test_batches_are_put_together_and_a_smaller_one_is_left_out(tmp_path: Path) -> None:
    x = samples(tmp_path / "x.npz", 7).astype(np.float64)
    found = measure(model(), tmp_path / "x.npz", 3)
    np.testing.assert_allclose(found["m1"], x[:6].mean((0, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(found["v1"], x[:6].var((0, 2, 3)), rtol=1e-5)


def test_what_two_nodes_read_is_left_alone(tmp_path: Path) -> None:
    samples(tmp_path / "x.npz", 4)
    shared = model(lambda name: "m1" if name == "m2" else name)
    assert measure(shared, tmp_path / "x.npz", 4) == {}


def with_vectors(path: Path, vectors: dict[str, Values]) -> Path:
    made = model()
    for vector in made.graph.initializer:
        if vector.name in vectors:
            values = vectors[vector.name].astype(np.float32)
            vector.CopyFrom(numpy_helper.from_array(values, vector.name))
    onnx.save(made, path)
    return path


@pytest.mark.parametrize("teacher_is_normalised", [True, False])
def test_they_are_taken_if_they_do_better(teacher_is_normalised: bool, tmp_path: Path) -> None:
    data = tmp_path / "x.npz"
    samples(data, 64)
    right = measure(model(), data, 64)
    wrong = {name: value * 1.3 for name, value in right.items()}
    normal, other = (
        with_vectors(tmp_path / name, vectors)
        for name, vectors in (("normal.onnx", right), ("other.onnx", wrong))
    )
    student = with_vectors(tmp_path / "student.onnx", {k: v * 1.2 for k, v in right.items()})
    config = FinetuneConfig(
        data=DataConfig(str(data)), steps=10, rate=1e-4, average=0.0, augment=(), batch=16
    )
    teacher = normal if teacher_is_normalised else other
    trained, report = finetune(student, teacher, config)
    assert report.improved
    assert report.statistics_anew is teacher_is_normalised
    kept = {v.name: numpy_helper.to_array(v) for v in trained.graph.initializer}
    if teacher_is_normalised:
        assert report.logit_error[1] < 0.3 * report.logit_error[0]
        np.testing.assert_allclose(kept["v1"], right["v1"], rtol=0.2)
    else:
        np.testing.assert_array_equal(kept["v1"], (right["v1"] * 1.2).astype(np.float32))
