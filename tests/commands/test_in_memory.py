"""Models that never touch the disk: in as any kind of object, out as a ModelProto."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import onnx_ir
import pytest
from onnx import ModelProto, numpy_helper
from onnx.reference import ReferenceEvaluator

from onnxslim_snacs import CompressConfig, SnacsError, apply, compress, inspect, verify
from tests.harness import model_from_text

TEXT = """<ir_version: 8, opset_import: ["" : 17]>
net (float[N,4] x, float[4,8] w_a, float[8,8] w_b, float[8,3] w_c) => (float[N,3] y) {
  a = MatMul(x, w_a)  r = Relu(a)  b = MatMul(r, w_b)  s = Relu(b)  y = MatMul(s, w_c)
}"""
CONFIG = CompressConfig(ratio=0.25, criterion="l1", recover="none")


def from_file(model: ModelProto, folder: Path) -> Any:
    onnx.save(model, folder / "net.onnx")
    return folder / "net.onnx"


def external_ir(model: ModelProto, folder: Path) -> Any:
    """An onnx_ir.Model whose weights stay in a file until somebody asks for them."""
    onnx.save(model, folder / "big.onnx", save_as_external_data=True, size_threshold=0)
    return onnx_ir.load(folder / "big.onnx")


KINDS: dict[str, Callable[[ModelProto, Path], Any]] = {
    "path": from_file,
    "text": lambda model, folder: str(from_file(model, folder)),
    "proto": lambda model, _: model,
    "bytes": lambda model, _: model.SerializeToString(),
    "bytearray": lambda model, _: bytearray(model.SerializeToString()),
    "onnx_ir": lambda model, _: onnx_ir.from_proto(model),
    "onnx_ir, weights in a file": external_ir,
    "graphsurgeon": lambda model, _: gs.import_onnx(model),
}


def weights(model: ModelProto) -> dict[str, bytes]:
    return {t.name: numpy_helper.to_array(t).tobytes() for t in model.graph.initializer}


def frozen(given: Any) -> bytes:
    """Everything that an object holds."""
    if isinstance(given, Path | str):
        return Path(given).read_bytes()
    if isinstance(given, onnx_ir.Model):
        given = onnx_ir.to_proto(given)
    if isinstance(given, gs.Graph):
        given = gs.export_onnx(given)
    if isinstance(given, ModelProto):
        return bytes(given.SerializeToString(deterministic=True))
    return bytes(given)


@pytest.mark.parametrize("kind", KINDS)
def test_there_and_back(kind: str, tmp_path: Path) -> None:
    """The same cut by whatever way the model comes in, and what came in is as it was."""
    model = model_from_text(TEXT)
    reference = compress(from_file(model, tmp_path), CONFIG)
    given = KINDS[kind](model_from_text(TEXT), tmp_path)
    before = frozen(given)

    done = compress(given, CONFIG)

    shapes = {t.name: tuple(t.dims) for t in done.model.graph.initializer}
    assert shapes == {"w_a": (4, 6), "w_b": (6, 6), "w_c": (6, 3)}
    assert weights(done.model) == weights(reference.model)
    assert done.plan.groups == reference.plan.groups

    found = inspect(given)
    assert [(g.units, g.label) for g in found.groups] == [(8, "w_a[1]"), (8, "w_b[1]")]
    again = apply(given, done.plan)
    assert again.model == done.model
    assert verify(given, again.model, done.plan).passed
    assert frozen(given) == before


def test_a_model_in_memory_is_written_where_it_is_told(tmp_path: Path) -> None:
    out, plan = tmp_path / "small.onnx", tmp_path / "plan.json"
    model = model_from_text(TEXT)
    done = compress(model, CONFIG, out=out, plan_out=plan)
    assert onnx.load(out) == done.model
    assert done.report.model == "(ModelProto)"
    assert verify(model, out, plan).made == "cut"
    onnx.checker.check_model(done.model, full_check=True)


def test_graphs_of_other_libraries_are_taken_for_what_they_compute() -> None:
    model = model_from_text(TEXT)
    done = compress(gs.import_onnx(model), CONFIG)
    session = ReferenceEvaluator(done.model)
    outputs: Any = session.run(None, {"x": np.ones((2, 4), np.float32)})
    assert outputs[0].shape == (2, 3)


def outside() -> ModelProto:
    model = model_from_text(TEXT)
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="w.bin")
    return model


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (3, r"compress: model: got 3 \(int\), expected a path, an onnx\.ModelProto"),
        (object(), "compress: model: got <object"),
        ({"x": 1}, "compress: model: got"),
        (onnx.GraphProto(), "compress: model: got"),
        (b"", r"compress: model \(bytes\): the file is empty"),
        (b"not a model", r"compress: model \(bytes\): this is not an ONNX model"),
        (ModelProto(), r"compress: model \(ModelProto\): "),
        (gs.Graph(), r"compress: model \(Graph\): "),
        (outside(), r"compress: model \(ModelProto\): tensor w_a lies in another file"),
        (outside().SerializeToString(), r"compress: model \(bytes\): tensor w_a lies in another"),
    ],
)
def test_what_is_no_model_is_refused_by_its_name(given: Any, says: str) -> None:
    with pytest.raises(SnacsError, match=says):
        compress(given)


@pytest.mark.parametrize("name", ["before", "after"])
def test_verify_names_which_of_the_two(name: str) -> None:
    model = model_from_text(TEXT)
    plan = compress(model, CONFIG).plan
    both: dict[str, Any] = {"before": model, "after": model, name: b"no"}
    with pytest.raises(SnacsError, match=f"verify: {name} \\(bytes\\): "):
        verify(both["before"], both["after"], plan)
