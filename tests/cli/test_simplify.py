"""`--simplify`: onnxslim first, held against the original, repeated by plans."""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxslim
import pytest
from onnx import ModelProto, numpy_helper

from tests.cli.conftest import Cli
from tests.harness import model_from_text

NORMED = """<ir_version: 8, opset_import: ["" : 17]>
net (float[N,3,6,6] x, float[8,3,3,3] w_a, float[8] w_s, float[8] w_o, float[8] w_m, float[8,4] w_b)
  => (float[N,4] y)
<float[8] v = {1.0, 2.0, 0.5, 1.5, 1.0, 0.25, 4.0, 1.0}> {
  a = Conv(x, w_a)
  n = BatchNormalization(a, w_s, w_o, w_m, v)
  r = Relu(n)
  p = GlobalAveragePool(r)
  f = Flatten(p)
  y = MatMul(f, w_b)
}"""
QUICK = ("--simplify", "--ratio", 0.5, "--criterion", "l1", "--force")


@pytest.fixture
def normed(tmp_path: Path) -> Path:
    path = tmp_path / "net.onnx"
    onnx.save(model_from_text(NORMED, integers=False), path)
    return path


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    path = tmp_path / "x.npz"
    np.savez(path, x=np.random.default_rng(0).standard_normal((40, 3, 6, 6)).astype(np.float32))
    return path


def operators(path: Path) -> list[str]:
    return [node.op_type for node in onnx.load(path).graph.node]


def test_normalisations_are_folded_before_the_cut(cli: Cli, normed: Path, samples: Path) -> None:
    out, plan, again = (normed.with_name(name) for name in ("a.onnx", "p.json", "b.onnx"))
    report = cli(
        "compress", normed, *QUICK, "--data", samples, "-o", out, "--plan-out", plan, "--json"
    ).json()
    assert "BatchNormalization" in operators(normed)
    assert "BatchNormalization" not in operators(out)
    note = report["notes"]["simplified"]
    assert note["nodes"][1] < note["nodes"][0] == 6
    assert note["difference"] <= note["allowed"] <= 1e-4
    # the model as it was given: four vectors of the normalisation, and no bias
    assert report["before"]["params"] == 8 * 27 + 4 * 8 + 8 * 4
    assert json.loads(plan.read_text())["simplified"] == metadata.version("onnxslim")
    cli("verify", normed, out, "--plan", plan)
    cli("apply", normed, plan, "--data", samples, "-o", again)
    assert again.read_bytes() == out.read_bytes()


def test_a_plan_of_another_version_says_so(cli: Cli, normed: Path) -> None:
    plan = normed.with_name("p.json")
    cli("compress", normed, *QUICK, "--recover", "none", "--plan-out", plan)
    data = json.loads(plan.read_text())
    cli("apply", normed, plan, "--force")
    plan.write_text(json.dumps({**data, "simplified": "0.0.1"}))
    cli("apply", normed, plan, "--force")  # it makes the same of it
    plan.write_text(json.dumps({**data, "simplified": "0.0.1", "fingerprint": "0" * 64}))
    assert "onnxslim 0.0.1" in cli("apply", normed, plan, "--force", code=3).err


def test_what_computes_something_else_is_refused(
    cli: Cli, normed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(model: ModelProto) -> ModelProto:
        tensor = next(t for t in model.graph.initializer if t.name == "w_b")
        changed = numpy_helper.to_array(tensor) * np.float32(1.001)
        tensor.CopyFrom(numpy_helper.from_array(changed, "w_b"))
        return model

    monkeypatch.setattr(onnxslim, "slim", wrong)
    said = cli("compress", normed, *QUICK, code=5).err
    assert "differs from it by 0.001" in said
    assert not normed.with_name("net.slim.onnx").exists()


@pytest.mark.parametrize("ends", [SystemExit(1), ValueError("no"), None])
def test_whatever_it_does_ends_in_words(
    ends: BaseException | None, cli: Cli, normed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(model: ModelProto) -> Any:
        if ends is not None:
            raise ends
        model.graph.output[0].name = "other"
        model.graph.node[-1].output[0] = "other"
        return model

    monkeypatch.setattr(onnxslim, "slim", fails)
    assert "onnxslim" in cli("compress", normed, *QUICK, code=3).err


def test_without_it_the_option_says_what_to_install(
    cli: Cli, normed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr("onnxslim_snacs.commands.simplified.metadata.version", missing)
    assert "onnxslim-snacs[simplify]" in cli("compress", normed, *QUICK, code=2).err


def test_a_plan_of_another_model_is_called_so(cli: Cli, normed: Path, samples: Path) -> None:
    plan, other = normed.with_name("p.json"), normed.with_name("other.onnx")
    cli("compress", normed, *QUICK, "--data", samples, "--plan-out", plan)
    text = NORMED.replace("float[N,3,6,6]", "float[N,2,6,6]").replace("[8,3,3,3]", "[8,2,3,3]")
    onnx.save(model_from_text(text, integers=False), other)
    raw = ("apply", other, plan, "--recover", "none")
    for command in (raw, ("verify", other, normed, "--plan", plan)):
        assert "the plan was made for another model" in cli(*command, code=3).err
