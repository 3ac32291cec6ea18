"""`released` from end to end."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from tests.cli.conftest import Cli
from tests.harness import cifar


def zeros(path: Path) -> int:
    model = onnx.load(path)
    arrays = [numpy_helper.to_array(t) for t in model.graph.initializer if len(t.dims) in (2, 4)]
    return sum(int((a == 0).sum()) for a in arrays)


def test_connections_become_zero(cli: Cli, model: Path, data: Path) -> None:
    out = model.with_name("out.onnx")
    line = ("released", model, "--data", data, "--json", "-o", out)
    report = cli(*line, "--target", "params=0.93").json()
    told = report["notes"]["as_released"]
    assert 0.90 < told["retained"] <= 0.93
    assert list(told["skipped"]) == ["/stem/stem.0/Conv"]
    scored = sum(
        numpy_helper.to_array(t).size
        for t in onnx.load(model).graph.initializer
        if len(t.dims) in (2, 4) and t.dims[1] != 1
    )
    gone = zeros(out) - zeros(model)
    assert gone == pytest.approx(scored * (1 - told["retained"]), abs=1)
    assert report["proof"]["passed"]
    assert report["before"] == report["after"]
    for layer in told["layers"]:
        one_score = 1.5 / np.sqrt(layer["connections"])  # <= takes the score at the limit too
        assert 1 - layer["retained"] <= layer["limit"] + one_score
    first = out.read_bytes()
    cli(*line, "--target", "params=0.93", "--force")
    assert out.read_bytes() == first


def test_limits_bound_what_can_be_asked(cli: Cli, model: Path, data: Path) -> None:
    line = ("released", model, "--data", data, "--target")
    told = cli(*line, "params=0.05", code=4).err
    assert "limits of all layers" in told
    assert not model.with_name("net.slim.onnx").exists()


@pytest.mark.shared
def test_resnet20(cli: Cli, shared: Path, tmp_path: Path) -> None:
    path = shared / "models" / "cifar10_akamaster_resnet20_ts17_bn.onnx"
    images = cifar(400)[0] / np.float32(64) - np.float32(2)
    data, out = tmp_path / "images.npy", tmp_path / "out.onnx"
    np.save(data, images.astype(np.float32))
    line = ("released", path, "--data", data, "--json", "-o", out)
    told = cli(*line, "--target", "params=0.95").json()["notes"]["as_released"]
    parents = [layer["parent"] for layer in told["layers"]]
    assert len(parents) == 19
    assert parents[-3:] == [
        "/layer3/layer3.1/conv2/Conv",
        "/layer3/layer3.2/conv1/Conv",
        "/layer3/layer3.2/conv2/Conv",
    ]
    assert 0.94 < told["retained"] <= 0.95
    assert zeros(out) > zeros(path)


def test_what_tolerates_a_drop(cli: Cli, model: Path, data: Path) -> None:
    line = ("released", model, "--data", data, "--max-drop", "0.05", "--json")
    report = cli(*line, "--groups", "8").json()
    told = report["notes"]["as_released"]
    assert told["groups"] == 8
    assert told["retained"] < 1.0
    chosen = [t["drop"] for t in told["tried"] if t["share"] == told["cutoff_share"]]
    assert chosen
    assert chosen[0] <= 0.05


@pytest.mark.parametrize(
    "extra",
    [
        "--ratio 0.5",
        "--target macs=0.5",
        "--multiple-of 4",
        "--protect logits",
        "--plan-out plan.json",
        "--allow-inexact",
        "--criterion l1",
    ],
)
def test_what_is_about_units_is_refused(cli: Cli, model: Path, data: Path, extra: str) -> None:
    cli("released", model, "--data", data, *extra.split(), code=2)
