"""`compress --finetune`: trained behind the cut, never worse, known to plan and proof."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from onnxslim_snacs.commands.compress import compress
from onnxslim_snacs.commands.finetune import finetune
from onnxslim_snacs.config import CompressConfig, DataConfig, FinetuneConfig
from onnxslim_snacs.report.make import TRAINED
from onnxslim_snacs.report.training import TrainingReport
from tests.cli.arriving.kit import NET, RESIDUAL
from tests.cli.conftest import Cli
from tests.harness import model_from_text


@pytest.fixture
def net(tmp_path: Path) -> Path:
    onnx.save(model_from_text(NET, integers=False), tmp_path / "net.onnx")
    x = np.random.default_rng(0).standard_normal((400, 4)).astype(np.float32)
    np.savez(tmp_path / "x.npz", x=x)
    return tmp_path / "net.onnx"


def test_the_trained_model_is_nearer_and_known_by_its_plan(cli: Cli, net: Path) -> None:
    slim, plan, again = (net.with_name(n) for n in ("slim.onnx", "plan.json", "again.onnx"))
    data = ("--data", net.with_name("x.npz"))
    line = ("compress", net, *data, "--criterion", "l1", "--ratio", 0.5, "--finetune", 0.1)
    report = cli(*line, "-o", slim, "--plan-out", plan, "--json").json()
    assert report["made"] == TRAINED
    assert report["tuned"]["improved"]
    assert report["drift"]["rel_error"] < report["tuned"]["before"]["rel_error"]
    steps = [step["pass"] for step in json.loads(plan.read_text())["steps"]]
    assert steps == ["prune", "recover", "finetune"]

    verified = cli("verify", net, slim, "--plan", plan, "--json").json()
    assert (verified["made"], verified["passed"], verified["proved"]) == (TRAINED, True, False)
    # the plan leads to the model in front of the training, and says so
    told = cli("apply", net, plan, *data, "-o", again, "--json").json()
    assert told["made"] == "re-fitted"
    assert any("was trained after this" in warning for warning in told["warnings"])
    assert cli("verify", net, again, "--plan", plan, "--json").json()["made"] == "re-fitted"


def test_numbers_that_training_did_not_make_are_not_known(cli: Cli, net: Path) -> None:
    slim, plan = net.with_name("slim.onnx"), net.with_name("plan.json")
    data = ("--data", net.with_name("x.npz"))
    line = ("compress", net, *data, "--criterion", "l1", "--ratio", 0.5, "--finetune", 0.02)
    cli(*line, "-o", slim, "--plan-out", plan)
    model = onnx.load(slim)
    value = onnx.numpy_helper.to_array(model.graph.initializer[0]) + 1
    model.graph.initializer[0].CopyFrom(
        onnx.numpy_helper.from_array(value, model.graph.initializer[0].name)
    )
    onnx.save(model, slim)
    cli("verify", net, slim, "--plan", plan, code=5)


def test_who_stops_the_training_keeps_the_best_so_far(net: Path) -> None:
    asked = itertools.count(1)

    data = DataConfig(path=str(net.with_name("x.npz")))
    config = CompressConfig(data=data, criterion="l1", ratio=0.5, finetune=60.0)
    done = compress(net, config, heed=lambda: lambda: next(asked) >= 21)
    assert done.report.tuned is not None
    assert done.report.tuned.stopped == "stopped by the user"
    assert done.report.tuned.steps == 21


def test_training_needs_samples(cli: Cli, net: Path) -> None:
    result = cli("compress", net, "--finetune", 1, code=2)
    assert "--finetune trains on samples" in result.err
    assert "--finetune -1" in cli("compress", net, "--finetune", -1, code=2).err


@pytest.fixture
def residual(net: Path) -> Path:
    onnx.save(model_from_text(RESIDUAL, integers=False), net)
    return net


@pytest.mark.parametrize("blocks", [(), ("--blocks", "--drop", 1)])
def test_recovery_by_distillation_is_replayed_and_proved(
    cli: Cli, residual: Path, blocks: tuple[object, ...]
) -> None:
    slim, plan, again = (residual.with_name(n) for n in ("slim.onnx", "plan.json", "again.onnx"))
    data = ("--data", residual.with_name("x.npz"))
    line = ("compress", residual, *data, "--criterion", "l1", "--ratio", 0.25, *blocks)
    report = cli(*line, "--recover", "distil", "-o", slim, "--plan-out", plan, "--json").json()
    assert report["recovery"]["used"] == "distil"
    assert report["drift"]["rel_error"] < 0.8 * report["recovery"]["raw"]["rel_error"]
    cli("apply", residual, plan, *data, "-o", again)
    assert again.read_bytes() == slim.read_bytes()
    verified = cli("verify", residual, slim, "--plan", plan, "--json").json()
    assert (verified["made"], verified["passed"]) == ("re-fitted", True)


def test_a_trained_model_is_told_before_it_is_written(net: Path) -> None:
    out = net.with_name("tuned.onnx")
    there = []
    data = DataConfig(path=str(net.with_name("x.npz")))

    def told(report: TrainingReport) -> None:
        there.append((report.steps, out.exists()))

    finetune(net, net, FinetuneConfig(data=data, steps=3), out=out, told=told)
    assert there == [(3, False)]
    assert out.exists()
