"""Whole blocks and channels in one run: plan, replay, proof, budgets."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.cli.arriving.kit import NET, RESIDUAL
from tests.cli.conftest import Cli
from tests.harness import model_from_text


@pytest.fixture
def net(tmp_path: Path) -> Path:
    """A net whose second and third block add little: a hundredth of what the first one does."""
    model = model_from_text(RESIDUAL, integers=False)
    for tensor in model.graph.initializer:
        value = onnx.numpy_helper.to_array(tensor) / 3
        value = value / 10 if tensor.name in ("w_3", "w_4", "w_5", "w_6") else value
        tensor.CopyFrom(onnx.numpy_helper.from_array(value, tensor.name))
    onnx.save(model, tmp_path / "net.onnx")
    x = np.random.default_rng(0).standard_normal((200, 4)).astype(np.float32)
    np.savez(tmp_path / "x.npz", x=x)
    return tmp_path / "net.onnx"


def line(net: Path, *more: object) -> tuple[object, ...]:
    files = ("-o", net.with_name("slim.onnx"), "--plan-out", net.with_name("plan.json"))
    return ("compress", net, "--data", net.with_name("x.npz"), *files, "--json", *more)


@pytest.mark.parametrize("order", ["error", "energy", "correlation"])
def test_the_blocks_that_add_little_go_first(cli: Cli, net: Path, order: str) -> None:
    more = ("--blocks", "--drop", 2, "--ratio", 0, "--block-order", order)
    found = cli(*line(net, *more)).json()["dropped"]
    assert sorted(found["blocks"]) == [["h", "d"], ["l", "h"]]
    assert found["proof"]["passed"]
    assert found["proof"]["max_rel_diff"] == 0.0


def test_a_plan_of_steps_is_replayed_and_proved(cli: Cli, net: Path) -> None:
    report = cli(*line(net, "--blocks", "--drop", 1, "--ratio", 0.25, "--criterion", "l1")).json()
    slim, plan = net.with_name("slim.onnx"), net.with_name("plan.json")
    steps = json.loads(plan.read_text())["steps"]
    assert [step["pass"] for step in steps] == ["drop", "prune", "recover"]
    ((end, instead),) = report["dropped"]["blocks"]
    assert steps[0]["blocks"] == [{"output": end, "instead": instead}]
    assert sum(len(g["kept"]) for g in steps[1]["groups"]) == 6 + 6 + 6  # one of four groups went

    again = net.with_name("again.onnx")
    data = ("--data", net.with_name("x.npz"))
    told = cli("apply", net, plan, *data, "-o", again, "--json").json()
    assert again.read_bytes() == slim.read_bytes()
    assert told["dropped"]["blocks"] == [[end, instead]]
    verified = cli("verify", net, slim, "--plan", plan, "--json").json()
    assert verified["made"] == "re-fitted"
    assert verified["dropped"]["passed"]

    raw = net.with_name("raw.onnx")
    cli("apply", net, plan, "--recover", "none", "-o", raw, "--json")
    verified = cli("verify", net, raw, "--plan", plan, "--json").json()
    assert (verified["proved"], verified["dropped"]["max_rel_diff"]) == (True, 0.0)


def test_what_is_left_is_nearer_to_the_original_than_without_recovery(cli: Cli, net: Path) -> None:
    report = cli(*line(net, "--blocks", "--drop", 2, "--ratio", 0)).json()
    # linear layers around what went can take over most of what it did
    assert report["drift"]["rel_error"] < 0.5 * report["recovery"]["raw"]["rel_error"]


def test_a_budget_is_met_by_blocks_and_channels_together(cli: Cli, net: Path) -> None:
    report = cli(*line(net, "--blocks", "--target", "macs=0.5")).json()
    assert report["after"]["macs"] <= 0.5 * report["before"]["macs"]
    dropped = report["dropped"]
    tried = dict(dropped["tried"])
    assert 0 in tried  # channels alone
    # the two blocks that hardly add anything make up half of the net
    assert len(dropped["blocks"]) >= 2
    assert tried[len(dropped["blocks"])] == min(tried.values())
    cli("verify", net, net.with_name("slim.onnx"), "--plan", net.with_name("plan.json"))


def test_a_tolerated_drop_is_kept(cli: Cli, net: Path) -> None:
    report = cli(*line(net, "--blocks", "--max-drop", 0.05)).json()
    assert report["dropped"]["blocks"]
    assert 1 - report["drift"]["top1_agreement"] <= 0.05


def test_an_edited_plan_that_names_no_block_is_refused(cli: Cli, net: Path) -> None:
    cli(*line(net, "--blocks", "--drop", 1, "--ratio", 0, "--recover", "none"))
    plan = net.with_name("plan.json")
    data = json.loads(plan.read_text())
    data["steps"][0]["blocks"][0]["instead"] = "x"
    plan.write_text(json.dumps(data))
    result = cli("apply", net, plan, "-o", net.with_name("again.onnx"), code=3)
    assert "no block that ends in" in result.err


def test_more_blocks_than_there_are(cli: Cli, net: Path) -> None:
    result = cli(*line(net, "--blocks", "--drop", 4, "--ratio", 0), code=2)
    assert "--drop 4: the model has 3 blocks" in result.err
    assert "--drop belongs to --blocks" in cli(*line(net, "--drop", 1), code=2).err


def test_a_model_without_blocks_loses_channels_alone(cli: Cli, net: Path) -> None:
    onnx.save(model_from_text(NET, integers=False), net)
    report = cli(*line(net, "--blocks", "--ratio", 0.25)).json()
    assert report["dropped"]["found"] == 0
    assert any(warning.startswith("--blocks: no part") for warning in report["warnings"])


@pytest.mark.parametrize("order", ["energy", "correlation"])
def test_too_few_samples_for_distances(cli: Cli, net: Path, order: str) -> None:
    more = ("--blocks", "--drop", 1, "--ratio", 0, "--samples", 3, "--criterion", "l1")
    result = cli(*line(net, *more, "--block-order", order), code=3)
    assert "compares samples, at least 4" in result.err
