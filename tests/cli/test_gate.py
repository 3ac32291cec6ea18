"""`--require`, what nobody may overlook, and what is noted in a model."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import onnx
import pytest

from onnxslim_snacs.commands.gate import require_worth
from onnxslim_snacs.config import CompressConfig
from onnxslim_snacs.errors import RequirementMissed, UsageError
from onnxslim_snacs.judge.drift import Drift
from onnxslim_snacs.report.sentences import alarm
from tests.cli.conftest import Cli, contents
from tests.report.test_golden import REPORT

DEEP = ("--target", "macs=0.05", "--criterion", "l1", "--recover", "none")


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("agreement>=0.9375", True),
        ("agreement >= 0.94", False),
        ("accuracy>=0.8125", True),
        ("accuracy>=0.82", False),
        ("error<=0.125", True),
        ("error<=0.12", False),
        ("macs<=0.4", True),
        ("params<=0.2", False),
        ("latency<=0.76", True),
        ("metric>=0.1", False),  # nobody measures it
    ],
)
def test_a_result_is_held_against_what_is_required(text: str, holds: bool) -> None:
    if holds:
        require_worth(REPORT, [text])
        return
    with pytest.raises(RequirementMissed, match=f"--require {text.replace(' ', '')}"):
        require_worth(REPORT, [text])


def test_agreement_on_random_samples_is_none() -> None:
    assert REPORT.drift is not None
    blind = replace(REPORT, drift=replace(REPORT.drift, is_telling=False))
    with pytest.raises(RequirementMissed, match="real data"):
        require_worth(blind, ["agreement>=0.5"])


@pytest.mark.parametrize("text", ["agreement", "agreement<=0.9", "speed>=2", "error<=low", ""])
def test_what_is_no_requirement_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--require"):
        CompressConfig(require=(text,))


def test_nothing_is_written_if_it_is_missed(
    cli: Cli, model: Path, data: Path, tmp_path: Path
) -> None:
    before = contents(tmp_path)
    line = ("compress", model, "--data", data, *DEEP, "--report", tmp_path / "r.json")
    said = cli(*line, "--require", "agreement>=0.98", code=8).err
    assert "--require agreement>=0.98: the result has 0." in said
    assert contents(tmp_path) == before


def test_a_model_that_answers_otherwise_says_so_last(cli: Cli, model: Path, data: Path) -> None:
    shown = cli("compress", model, "--data", data, *DEEP)
    assert "THIS MODEL ANSWERS OTHERWISE" in shown.err.strip().splitlines()[-1]
    mild = cli("compress", model, "--data", data, "--ratio", 0.1, "--force")
    assert "ANSWERS OTHERWISE" not in mild.err + mild.out


def test_the_alarm_is_raised_below_nine_of_ten_answers() -> None:
    assert alarm(Drift(100, 0.1, 0.9, 0.03)) == ""
    assert "11 of 100" in alarm(Drift(100, 0.1, 0.89, 0.03))
    assert alarm(Drift(100, 0.1, 0.89, 0.03, is_telling=False)) == alarm(None) == ""


def test_a_model_knows_by_what_it_was_made(cli: Cli, model: Path, data: Path) -> None:
    plan, out, plain = (model.with_name(name) for name in ("p.json", "a.onnx", "b.onnx"))
    line = ("compress", model, "--data", data, "--ratio", 0.5, "--force")
    report = cli(*line, "--plan-out", plan, "-o", out, "--json").json()
    notes = {entry.key: entry.value for entry in onnx.load(out).metadata_props}
    share = report["after"]["macs"] / report["before"]["macs"]
    cut = json.loads(plan.read_text())
    cut.pop("sizes", None)
    cut.pop("source", None)  # the same cut of other weights is the same plan
    cut["steps"] = [step for step in cut["steps"] if step["pass"] == "prune"]
    text = json.dumps(cut, indent=1) + "\n"
    assert notes["snacs-onnx.plan"] == hashlib.sha256(text.encode()).hexdigest()
    assert f"macs={share:.4f}" in notes["snacs-onnx.kept"]
    assert notes["snacs-onnx.version"] == report["versions"]["onnxslim-snacs"]
    assert notes["snacs-onnx.made"] == report["made"] == "re-fitted"
    cli("verify", model, out, "--plan", plan)
    cli(*line, "-o", plain, "--no-metadata")
    found = onnx.load(plain)
    assert list(found.metadata_props) == list(onnx.load(model).metadata_props)
    found.metadata_props.extend(onnx.load(out).metadata_props)
    assert found.SerializeToString() == onnx.load(out).SerializeToString()


def test_a_plan_that_is_replayed_leaves_the_same_notes(cli: Cli, model: Path, data: Path) -> None:
    plan, out, again = (model.with_name(name) for name in ("p.json", "a.onnx", "b.onnx"))
    cli("compress", model, "--data", data, "--ratio", 0.5, "--plan-out", plan, "-o", out)
    cli("apply", model, plan, "--data", data, "-o", again)
    assert out.read_bytes() == again.read_bytes()
    cli("apply", model, plan, "--data", data, "-o", again, "--no-metadata", "--force")
    assert not onnx.load(again).metadata_props


def test_a_second_run_keeps_the_digest_of_the_first_plan(cli: Cli, model: Path) -> None:
    first, second = model.with_name("a.onnx"), model.with_name("b.onnx")
    line = ("--ratio", 0.25, "--criterion", "l1", "--recover", "none")
    cli("compress", model, *line, "-o", first)
    cli("compress", first, *line, "-o", second)
    before, after = (
        {entry.key: entry.value for entry in onnx.load(path).metadata_props}
        for path in (first, second)
    )
    assert after["snacs-onnx.earlier"] == before["snacs-onnx.plan"] != after["snacs-onnx.plan"]
