"""External data: read only from ordinary files in the model's own folder, and only if complete."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, numpy_helper

from onnxslim_snacs.errors import InputRefused
from onnxslim_snacs.model.load import load_model

SIZE = 4 * 64


def model_with(folder: Path, **entries: object) -> Path:
    """A model one weight of which, 64 floats, lies where the entries say."""
    model: ModelProto = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]> net (float[8] x) => (float[8] y) '
        "<float[8, 8] w = {0}> { y = MatMul (x, w) }"
    )
    weight = model.graph.initializer[0]
    weight.CopyFrom(onnx.TensorProto(name="w", dims=[8, 8], data_type=1))
    weight.data_location = onnx.TensorProto.EXTERNAL
    for key, value in entries.items():
        weight.external_data.add(key=key, value=str(value))
    path = folder / "m.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def data_file(path: Path, floats: int = 64) -> Path:
    path.write_bytes(np.arange(floats, dtype=np.float32).tobytes())
    return path


def refused(path: Path, word: str) -> None:
    with pytest.raises(InputRefused, match=word):
        load_model(path)


def test_data_stay_on_disk_and_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    data_file(tmp_path / "sub" / "w.bin", 70)
    graph = load_model(model_with(tmp_path, location="sub/w.bin", offset=24, length=SIZE))
    assert not graph.initializers["w"].raw_data
    np.testing.assert_array_equal(graph.array("w").reshape(-1), np.arange(6, 70, dtype=np.float32))


def test_length_may_be_left_out(tmp_path: Path) -> None:
    data_file(tmp_path / "w.bin")
    load_model(model_with(tmp_path, location="w.bin"))
    refused(model_with(tmp_path, location="w.bin", offset=4), "256 bytes, its entry gives 252")


@pytest.mark.parametrize(
    ("location", "word"),
    [
        ("../w.bin", "leads out"),
        ("sub/../../w.bin", "leads out"),
        ("..\\w.bin", "leads out"),
        ("/dev/zero", "not a path within"),
        ("C:\\w.bin", "not a path within"),
        ("\\\\host\\w.bin", "not a path within"),
        ("w\0.bin", "not a path within"),
        ("", "no location"),
        (".", "not an ordinary file"),
        ("missing.bin", "cannot be found"),
        ("*/_ORT_MEM_ADDR_/*", "cannot be found"),
    ],
)
def test_locations(tmp_path: Path, location: str, word: str) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    data_file(tmp_path / "w.bin")
    refused(model_with(inner, location=location), word)


@pytest.mark.parametrize(
    "entries",
    [
        {"offset": -4},
        {"offset": 4},
        {"offset": "٤"},
        {"offset": " 0"},
        {"length": 9 * 10**15},
        {"length": 10**30},
        {"length": SIZE - 4},
        {"__class__": "x"},
    ],
)
def test_entries(tmp_path: Path, entries: dict[str, object]) -> None:
    data_file(tmp_path / "w.bin")
    refused(model_with(tmp_path, location="w.bin", **entries), "tensor w")


def test_key_given_twice(tmp_path: Path) -> None:
    data_file(tmp_path / "w.bin")
    path = model_with(tmp_path, location="w.bin")
    model = onnx.load(path, load_external_data=False)
    model.graph.initializer[0].external_data.add(key="location", value="/etc/passwd")
    path.write_bytes(model.SerializeToString())
    refused(path, "twice")


def test_short_file(tmp_path: Path) -> None:
    data_file(tmp_path / "w.bin", 63)
    refused(model_with(tmp_path, location="w.bin", length=SIZE), "the download complete")


def test_links(tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    target = data_file(tmp_path / "w.bin")
    (inner / "soft.bin").symlink_to(target)
    refused(model_with(inner, location="soft.bin"), "symbolic link.*local-dir")
    (inner / "up").symlink_to(tmp_path)
    refused(model_with(inner, location="up/w.bin"), "symbolic link")
    os.link(target, inner / "hard.bin")
    refused(model_with(inner, location="hard.bin"), "hard link")


def test_pipes_do_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    refused(model_with(tmp_path, location="pipe"), "not an ordinary file")


def test_nan_is_found(tmp_path: Path) -> None:
    values = np.arange(64, dtype=np.float32)
    values[40] = np.nan
    (tmp_path / "w.bin").write_bytes(values.tobytes())
    refused(model_with(tmp_path, location="w.bin"), "NaN")


def test_tensors_in_attributes_are_held_to_the_same(tmp_path: Path) -> None:
    path = model_with(tmp_path, location="../w.bin")
    model = onnx.load(path, load_external_data=False)
    constant = onnx.helper.make_node("Constant", [], ["w"])
    constant.attribute.add(name="value", type=onnx.AttributeProto.TENSOR)
    constant.attribute[0].t.CopyFrom(model.graph.initializer.pop())
    model.graph.node.insert(0, constant)
    path.write_bytes(model.SerializeToString())
    data_file(tmp_path.parent / "w.bin")
    refused(path, "leads out")
    model.graph.node[0].attribute[0].t.CopyFrom(numpy_helper.from_array(np.eye(8, dtype="f4")))
    path.write_bytes(model.SerializeToString())
    load_model(path)
