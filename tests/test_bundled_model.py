"""The bundled model is the one that its README describes."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import numpy as np
import pytest

from onnxslim_snacs.model.load import load_model
from onnxslim_snacs.model.session import SessionConfig, create_session

MODELS = Path(__file__).resolve().parents[1] / "models"
README = (MODELS / "README.md").read_text()
CHECKSUMS = dict(re.findall(r"^([0-9a-f]{64})  (\S+)$", README, re.MULTILINE))


def test_checksums() -> None:
    found = {
        hashlib.sha256(path.read_bytes()).hexdigest(): path.name
        for path in MODELS.iterdir()
        if path.suffix in (".onnx", ".npz") and not path.stem.endswith(".slim")
    }
    assert len(CHECKSUMS) == 3
    assert found == CHECKSUMS


@pytest.mark.parametrize("split", ["calibration", "test"])
def test_accuracy(split: str) -> None:
    graph = load_model(MODELS / "digits_resnet.onnx")
    data = np.load(MODELS / f"digits_{split}.npz")
    assert set(data) == {*graph.inputs, "labels"}
    session = create_session(graph.proto, SessionConfig(level=0))
    (logits,) = session.run(None, {name: data[name] for name in graph.inputs})
    right = int((logits.argmax(1) == data["labels"]).sum())
    row = re.search(rf"digits_{split}\.npz`\) \| (\d+) \| ([\d.]+) %", README)
    assert row is not None
    assert len(logits) == int(row[1])
    assert f"{100 * right / len(logits):.2f}" == row[2]
    assert right / len(logits) > 0.98


def test_size() -> None:
    graph = load_model(MODELS / "digits_resnet.onnx")
    assert sum(node.op_type == "Conv" for node in graph.nodes) == 9
    assert sum(node.op_type == "Add" for node in graph.nodes) == 3
    assert graph.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "N"
