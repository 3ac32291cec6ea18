"""Every command on the bundled model: what it writes, what it prints, and where."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from onnxslim_snacs import __version__
from onnxslim_snacs.plan.plan import model_digest
from onnxslim_snacs.scores import CRITERIA
from tests.cli.conftest import Cli, contents

QUICK = ("--criterion", "l1", "--ratio", "0.5")


def test_version_and_help(cli: Cli) -> None:
    assert cli("--version").out.strip() == __version__
    listed = cli("--help").out
    for command in ("compress", "inspect", "apply", "verify", "bench", "criteria"):
        assert command in listed
        assert "Usage" in cli(command, "--help").out


def test_compress_writes_beside_the_model(cli: Cli, model: Path, data: Path) -> None:
    ended = cli("compress", model, "--data", data, *QUICK, "-q")
    out = model.with_name("net.slim.onnx")
    assert set(contents(model.parent)) == {"net.onnx", "net.slim.onnx"}
    assert out.stat().st_size < 0.6 * model.stat().st_size
    onnx.checker.check_model(onnx.load(out), full_check=True)
    assert "passed" in ended.out
    assert "net.slim.onnx" in ended.out
    assert ended.err == ""


def test_without_data_there_is_one_loud_warning(cli: Cli, model: Path) -> None:
    ended = cli("compress", model, *QUICK, "--json")
    assert ended.err.count("warning:") == 1
    assert "no --data" in ended.err
    assert "no --data" in ended.json()["warnings"][0]


def test_report_has_what_is_promised(cli: Cli, model: Path, data: Path, tmp_path: Path) -> None:
    report_file, plan_file, out = tmp_path / "r.json", tmp_path / "p.json", tmp_path / "o.onnx"
    ended = cli(
        "compress", model, "-o", out, "--data", data, *QUICK, "--json",
        "--report", report_file, "--plan-out", plan_file, "--seed", 3,
    )  # fmt: skip
    report = ended.json()
    written = json.loads(report_file.read_text())
    assert {**report, "timings": 0} == {**written, "timings": 0}
    for side, file in (("before", model), ("after", out)):
        stored = onnx.load(file).graph.initializer
        arrays = [numpy_helper.to_array(tensor) for tensor in stored]
        weights = [a for a in arrays if a.dtype.kind == "f"]
        assert report[side]["params"] == sum(a.size for a in weights)
        assert report[side]["bytes"] == sum(a.nbytes for a in arrays)
    assert report["before"]["macs"] == 763520
    assert report["after"]["macs"] < 0.5 * report["before"]["macs"]
    assert [g["units"] for g in report["groups"]] == [16, 16, 32, 32, 64, 64]
    assert [g["kept"] for g in report["groups"]] == [8, 8, 16, 16, 32, 32]
    assert all(g["id"] and g["axes"] for g in report["groups"])
    plan = json.loads(plan_file.read_text())
    assert [len(g["kept"]) for g in plan["steps"][0]["groups"]] == [
        g["kept"] for g in report["groups"]
    ]
    assert [(p["node"], p["op"], p["axis"], p["reason"]) for p in report["pins"]] == [
        ("logits", "graph", "logits[1]", "graph output"),  # the image has one channel: no choice
    ]
    assert report["proof"]["passed"] is True
    assert 0 <= report["proof"]["max_rel_diff"] <= 1e-5
    assert report["proof"]["oracle"] == "consumer-zero"
    assert 0 <= report["drift"]["top1_agreement"] <= 1
    assert report["drift"]["rel_error"] > 0
    assert {"load", "analyse", "score", "prune", "proof", "drift"} <= set(report["timings"])
    assert report["provider"] == "cpu"
    assert report["seed"] == 3
    assert {"onnxslim-snacs", "onnx", "onnxruntime", "numpy"} <= set(report["versions"])


def test_inspect(cli: Cli, model: Path) -> None:
    text = cli("inspect", model).out
    assert "77,418 parameters" in text
    assert "/stages/stages.2/conv1/Conv" in text
    assert "pinned: logits[1] (graph): graph output" in text
    found = cli("inspect", model, "--json").json()
    assert found["cost"] == {"params": 77418, "macs": 763520, "bytes": 309672}
    assert [g["units"] for g in found["groups"]] == [16, 16, 32, 32, 64, 64]
    assert found["groups"][0]["label"] == "onnx::Conv_88[0]"
    assert found["groups"][0]["layer"] == "/stem/stem.0/Conv"


def test_inspect_explains_a_pin_by_the_ties_that_lead_to_it(cli: Cli, model: Path) -> None:
    lines = cli("inspect", model, "--why", "onnx::Conv_88").out.splitlines()
    assert lines[:5] == [
        "onnx::Conv_88[0] is free to be pruned",
        "  -> onnx::Conv_88[0]  lies in g0000",
        "onnx::Conv_88[1] 1 of 1 entries are pinned",
        "  -> image[1]  tied by /stem/stem.0/Conv (Conv)",
        "  -> image[1]  pinned by image (graph): graph input",
    ]
    of_node = cli("inspect", model, "--why", "/stem/stem.0/Conv").out
    assert "[1] is free to be pruned" in of_node
    assert cli("inspect", model, "--why", "logits", "--json").json()["why"][1][-1] == {
        "axis": "logits[1]",
        "because": "pinned by logits (graph): graph output",
    }
    assert "no tensor and no node" in cli("inspect", model, "--why", "nothing", code=2).err


def test_apply_and_verify(cli: Cli, model: Path, data: Path, tmp_path: Path) -> None:
    first, second, plan = tmp_path / "1.onnx", tmp_path / "2.onnx", tmp_path / "p.json"
    line = ("compress", model, "-o", first, "--data", data, *QUICK, "--recover", "none")
    cli(*line, "--plan-out", plan)
    report = cli("apply", model, plan, "-o", second, "--json").json()
    assert first.read_bytes() == second.read_bytes()
    assert report["proof"]["passed"] is True
    assert report["drift"] is None
    assert "proved" in cli("verify", model, second, "--plan", plan).out
    assert cli("verify", model, second, "--plan", plan, "--json").json()["passed"] is True


def test_a_recovered_model_is_known_by_its_plan(
    cli: Cli, model: Path, data: Path, tmp_path: Path
) -> None:
    out, plan = tmp_path / "o.onnx", tmp_path / "p.json"
    line = ("compress", model, "-o", out, "--data", data, *QUICK, "--plan-out", plan, "--json")
    report = cli(*line).json()
    assert report["recovery"]["used"] == "least-squares"
    assert report["drift"]["rel_error"] < report["recovery"]["raw"]["rel_error"]
    assert report["made"] == "re-fitted"
    said = cli("verify", model, out, "--plan", plan).out
    assert said.startswith(
        "re-fitted: the file is the cut in its nodes, its shapes and all weights"
    )
    assert "proved" not in said
    found = cli("verify", model, out, "--plan", plan, "--json").json()
    assert (found["made"], found["proved"], found["passed"]) == ("re-fitted", False, True)
    assert 0 < len(found["refitted"]) <= 2 * len(report["recovery"]["layers"])


def test_a_plan_with_recovery_is_replayed_with_its_data(
    cli: Cli, model: Path, data: Path, tmp_path: Path
) -> None:
    out, again, raw = (tmp_path / f"{name}.onnx" for name in ("out", "again", "raw"))
    plan = tmp_path / "p.json"
    cli("compress", model, "-o", out, "--data", data, *QUICK, "--plan-out", plan, "--seed", 3)
    refused = cli("apply", model, plan, "-o", again, code=3).err
    assert "re-fitted after the cut (least-squares)" in refused
    assert "--data" in refused
    assert "--recover none" in refused
    assert not again.exists()
    report = cli("apply", model, plan, "-o", again, "--data", data, "--json").json()
    assert again.read_bytes() == out.read_bytes()
    assert (report["made"], report["warnings"]) == ("re-fitted", [])
    ended = cli("apply", model, plan, "-o", raw, "--recover", "none", "--json")
    assert ended.json()["made"] == "cut"
    assert "this is the raw cut" in ended.err
    assert raw.read_bytes() != out.read_bytes()
    said = cli("verify", model, raw, "--plan", plan).out
    assert said.startswith("proved")
    assert "this is the raw cut" in said


def test_other_data_make_another_model_and_it_is_said(
    cli: Cli, model: Path, data: Path, tmp_path: Path
) -> None:
    out, again, plan = tmp_path / "o.onnx", tmp_path / "a.onnx", tmp_path / "p.json"
    cli("compress", model, "-o", out, "--data", data, *QUICK, "--plan-out", plan)
    ended = cli("apply", model, plan, "-o", again, "--data", data, "--samples", 200)
    assert "not the plan's own model" in ended.err
    assert again.read_bytes() != out.read_bytes()
    assert "nor is it the model" in cli("verify", model, again, "--plan", plan, code=5).err


def test_a_plan_of_the_first_format_is_read(
    cli: Cli, model: Path, data: Path, tmp_path: Path
) -> None:
    out, again, plan = tmp_path / "o.onnx", tmp_path / "a.onnx", tmp_path / "p.json"
    # there was one thread when such plans were written
    line = ("--data", data, *QUICK, "--threads", 1)
    cli("compress", model, "-o", out, *line, "--plan-out", plan)
    told = json.loads(plan.read_text())
    first = {key: told["steps"][0][key] for key in ("allow_inexact", "groups")}
    digest = told["steps"][1]["digest"]
    old = {"format": 1, "fingerprint": told["fingerprint"], **first, "recovered": digest}
    plan.write_text(json.dumps(old))
    assert cli("verify", model, out, "--plan", plan).out.startswith("re-fitted")
    cli("apply", model, plan, "-o", again, code=3)
    cli("apply", model, plan, "-o", again, "--data", data)
    assert again.read_bytes() == out.read_bytes()


@pytest.mark.parametrize("what", ["uncut", "first weight", "attribute", "node", "shape"])
def test_a_digest_proves_nothing(cli: Cli, model: Path, tmp_path: Path, what: str) -> None:
    """Whoever writes the file writes the plan: what no recovery can make is no file of it."""
    out, plan = tmp_path / "o.onnx", tmp_path / "p.json"
    cli("compress", model, "-o", out, *QUICK, "--plan-out", plan)
    evil = onnx.load(model if what == "uncut" else out)
    conv = next(node for node in evil.graph.node if node.op_type == "Conv")
    first = next(t for t in evil.graph.initializer if t.name == conv.input[1])
    if what == "attribute":
        next(node for node in evil.graph.node if node.op_type == "Conv").attribute[0].ints[0] = 2
    elif what == "node":
        next(node for node in evil.graph.node if node.op_type == "Relu").op_type = "Abs"
    elif what == "shape":
        first.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(first)[:, :, :1], first.name))
    else:
        first.CopyFrom(numpy_helper.from_array(1.5 * numpy_helper.to_array(first), first.name))
    onnx.save(evil, out)
    told = json.loads(plan.read_text())
    told["steps"].append({"pass": "recover", "digest": model_digest(evil)})
    plan.write_text(json.dumps(told))
    said = cli("verify", model, out, "--plan", plan, code=5)
    assert "proved" not in said.out
    assert "no re-fitted cut" in said.err


def test_a_plan_can_be_edited(cli: Cli, model: Path, tmp_path: Path) -> None:
    plan, out = tmp_path / "p.json", tmp_path / "o.onnx"
    cli("compress", model, *QUICK, "--plan-out", plan)
    edited = json.loads(plan.read_text())
    step = edited["steps"][0]
    step["groups"] = [{**step["groups"][1], "kept": [0, 5, 7]}]
    plan.write_text(json.dumps(edited))
    report = cli("apply", model, plan, "-o", out, "--json").json()
    assert [g["kept"] for g in report["groups"]] == [16, 3, 32, 32, 64, 64]
    before, after = (
        {t.name: numpy_helper.to_array(t) for t in onnx.load(file).graph.initializer}
        for file in (model, out)
    )
    assert np.array_equal(after["onnx::Conv_91"], before["onnx::Conv_91"][[0, 5, 7]])


@pytest.mark.parametrize("tamper", ["weight", "output", "input"])
def test_verify_fails_on_a_tampered_model(
    cli: Cli, model: Path, data: Path, tmp_path: Path, tamper: str
) -> None:
    out, plan = tmp_path / "o.onnx", tmp_path / "p.json"
    cli("compress", model, "-o", out, "--data", data, *QUICK, "--plan-out", plan)
    bad = onnx.load(out)
    if tamper == "weight":
        array = numpy_helper.to_array(bad.graph.initializer[0]).copy()
        array.flat[0] += 0.1
        bad.graph.initializer[0].raw_data = array.tobytes()
    elif tamper == "output":
        bad.graph.node[-1].output[0] = bad.graph.output[0].name = "renamed"
    else:
        bad.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 4
    onnx.save(bad, out)
    assert "error:" in cli("verify", model, out, "--plan", plan, code=5).err


def test_bench(cli: Cli, model: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "o.onnx"
    cli("compress", model, "-o", out, "--data", data, *QUICK)
    found = cli("bench", model, out, "--data", data, "--batch", 4, "--json").json()
    assert found["files"] == [model.stat().st_size, out.stat().st_size]
    assert found["after"]["macs"] < 0.5 * found["before"]["macs"]
    assert found["latency"]["ratio"] > 0
    assert found["latency"]["runs"] >= 15
    # the answers are compared on all samples, by a loop of the test's own
    given = np.load(data)
    sessions = [onnxruntime.InferenceSession(path) for path in (model, out)]
    said = [s.run(None, {"image": given["image"]})[0].argmax(axis=1) for s in sessions]
    assert found["drift"]["samples"] == len(given["image"])
    assert found["drift"]["top1_agreement"] == pytest.approx(float(np.mean(said[0] == said[1])))
    right = float(np.mean(said[1] == given["labels"]))
    assert found["drift"]["accuracy_after"] == pytest.approx(right)
    text = cli("bench", model, out).out
    assert "top-1" not in text
    assert "latency ms" in text
    assert "speed-up" in text


def test_criteria(cli: Cli) -> None:
    assert set(cli("criteria", "--json").json()) == set(CRITERIA)
    text = cli("criteria").out
    assert all(name in text for name in CRITERIA)


def test_force_replaces(cli: Cli, model: Path) -> None:
    cli("compress", model, *QUICK)
    out = model.with_name("net.slim.onnx")
    old = out.read_bytes()
    cli("compress", model, "--criterion", "l1", "--ratio", "0.25", code=6)
    assert out.read_bytes() == old
    cli("compress", model, "--criterion", "l1", "--ratio", "0.25", "--force")
    assert out.read_bytes() != old


def test_models_whose_weights_lie_in_other_files(cli: Cli, model: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "a" / "in.onnx", tmp_path / "b" / "out.onnx"
    plan = tmp_path / "p.json"
    for file in (first, second):
        file.parent.mkdir()
    external: dict[str, Any] = {"save_as_external_data": True, "size_threshold": 0}
    onnx.save(onnx.load(model), first, location="in.bin", **external)
    cli("compress", first, "-o", second, *QUICK, "--plan-out", plan)
    onnx.save(onnx.load(second), second, location="out.bin", **external)
    assert cli("verify", first, second, "--plan", plan, "--json").json()["passed"] is True
    found = cli("bench", first, second, "--json").json()
    stored = [sum(f.stat().st_size for f in file.parent.iterdir()) for file in (first, second)]
    assert found["files"] == pytest.approx(stored, rel=0.01)
