"""`compare`: what stands beside what, and that nothing is done twice."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import onnx
import pytest

from onnxslim_snacs.commands import trial_runs
from onnxslim_snacs.commands.compare import compare
from onnxslim_snacs.commands.compress import compress
from onnxslim_snacs.config import CompressConfig, DataConfig
from onnxslim_snacs.config.comparison import CompareConfig
from onnxslim_snacs.errors import FileSystemError, NothingToPrune, UsageError
from onnxslim_snacs.judge.drift import Drift
from onnxslim_snacs.plan.written import load_plan
from onnxslim_snacs.report.pareto import pareto_svg
from onnxslim_snacs.report.standings import make_trials
from onnxslim_snacs.report.trials import Scoring, TrialRun
from onnxslim_snacs.scores import CRITERIA
from tests.cli.conftest import MODELS
from tests.harness import model_from_text

MODEL, DATA = MODELS / "digits_resnet.onnx", MODELS / "digits_calibration.npz"
TEST = str(MODELS / "digits_test.npz")


def config(**changes: Any) -> CompareConfig:
    given: dict[str, Any] = {
        "data": DataConfig(str(DATA), samples=200),
        "targets": ({"macs": 0.5},),
        "criteria": ("l1", "random"),
        "recover": ("none", "auto"),
        "seeds": 2,
        "tries": 0,
        "damage": False,
    }
    return CompareConfig(**{**given, **changes})


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was cut, in order."""
    done: list[str] = []
    cut = trial_runs._cut

    def note(shared: Any, one: Any, trial: TrialRun) -> TrialRun:
        done.append(f"{trial.criterion} {trial.seed} {trial.target} {trial.recover}")
        return cut(shared, one, trial)

    monkeypatch.setattr(trial_runs, "_cut", note)
    return done


def test_what_is_there_is_not_done_again(tmp_path: Path, counted: list[str]) -> None:
    out = tmp_path / "results"
    first = compare(MODEL, config(), out=out)
    assert counted == [
        *("l1 0 macs=0.5 none", "l1 0 macs=0.5 auto"),
        *("random 0 macs=0.5 none", "random 0 macs=0.5 auto"),
        *("random 1 macs=0.5 none", "random 1 macs=0.5 auto"),
    ]
    counted.clear()
    assert compare(MODEL, config(), out=out) == first
    assert not counted
    place = out / "run-l1-0-macs=0.5-auto.json"
    for spoil in (place.unlink, lambda: place.write_text(place.read_text()[:99])):
        spoil()
        compare(MODEL, config(), out=out)
        assert counted == ["l1 0 macs=0.5 auto"]
        counted.clear()
    more = compare(MODEL, config(targets=({"macs": 0.5}, {"params": 0.4})), out=out)
    assert len(counted) == 6
    assert all("params=0.4" in line for line in counted)
    assert {row.target for row in more.standings} == {"macs=0.5", "params=0.4"}
    with pytest.raises(UsageError, match="another model"):
        compare(MODEL, config(tries=1), out=out)
    counted.clear()
    compare(MODEL, config(tries=1), out=out, overwrite=True)
    assert len(counted) == 6


def test_a_run_is_what_compress_gives(tmp_path: Path) -> None:
    done = compare(MODEL, config(criteria=("snacs-refit",), tests=(TEST,)), out=tmp_path / "r")
    for trial in done.trials:
        alone = compress(
            MODEL,
            CompressConfig(
                data=DataConfig(str(DATA), samples=200),
                target={"macs": 0.5},
                criterion="snacs-refit",
                recover=trial.recover,
                tries=0,
            ),
        )
        assert trial.drift == alone.report.drift
        assert trial.used == (alone.report.recovery.used if alone.report.recovery else "none")
        plan = load_plan(tmp_path / "r" / trial.plan)
        assert plan.refit == alone.plan.refit
        kept = {k: v.tolist() for k, v in plan.kept().items()}
        assert kept == {k: v.tolist() for k, v in alone.plan.kept().items()}
        assert trial.kept["macs"] == pytest.approx(
            alone.report.after.macs / alone.report.before.macs, abs=1e-3
        )
        test = trial.tests[TEST]
        assert trial.counted == test.samples == 400
        agrees = trial.agrees
        assert agrees is not None
        assert agrees.mean() == pytest.approx(test.top1_agreement)


def test_damage_stands_beside_scores(tmp_path: Path) -> None:
    asked = config(criteria=("refit", "random"), recover=("none",), damage=True, seeds=1)
    done = compare(MODEL, asked, out=tmp_path / "r")
    refit, drawn = done.scorings
    assert refit.damage_refit is not None
    assert drawn.damage_refit is not None
    assert refit.damage_refit > 0.6
    assert abs(drawn.damage_refit) < 0.4
    assert {row.criterion: row.damage_refit for row in done.standings} == {
        "refit": refit.damage_refit,
        "random": drawn.damage_refit,
    }
    # measured once: what lies in the folder is what is read
    stored = json.loads((tmp_path / "r" / "damage.json").read_text())
    refits = stored["result"]["refit"]
    refits.update({name: (-np.array(values)).tolist() for name, values in refits.items()})
    (tmp_path / "r" / "damage.json").write_text(json.dumps(stored))
    (tmp_path / "r" / "scores-refit-0.json").unlink()
    again = compare(MODEL, asked, out=tmp_path / "r")
    assert again.scorings[0].damage_refit == pytest.approx(-refit.damage_refit)


def test_what_one_criterion_cannot_do_is_told_in_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(context: Any) -> Any:
        raise UsageError("it has no labels")

    monkeypatch.setitem(CRITERIA, "l2", replace(CRITERIA["l2"], score=fails))
    done = compare(MODEL, config(criteria=("l2", "l1"), recover=("none",)), out=tmp_path / "r")
    broken, fine = done.standings
    assert broken.error == "it has no labels"
    assert fine.good is not None
    assert "l1" in done.advice


def test_all_but_the_slow_one_take_part_by_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    monkeypatch.setattr(
        "onnxslim_snacs.commands.compare.run_criterion",
        lambda bench, entry, seed: seen.append(entry.name),
    )
    with pytest.raises(FileSystemError):  # nothing has run, so there is nothing to read
        compare(MODEL, config(criteria=(), seeds=1), out=tmp_path / "r")
    assert set(seen) == set(CRITERIA) - {"mint"}


def test_no_result_at_all_is_an_error_with_its_reason(tmp_path: Path) -> None:
    asked = config(criteria=("l1",), recover=("none",), targets=({"macs": 0.0001},))
    with pytest.raises(NothingToPrune, match=r"no run gave a result.*cannot be met"):
        compare(MODEL, asked, out=tmp_path / "r")
    assert (tmp_path / "r" / "report.json").exists()


def test_options_of_criteria_are_their_own(tmp_path: Path) -> None:
    asked = config(criteria=("snacs", "snacs:conditioning=hash"), recover=("none",))
    done = compare(MODEL, asked, out=tmp_path / "r")
    one, two = done.trials
    plans = [load_plan(tmp_path / "r" / t.plan).kept() for t in (one, two)]
    assert any((plans[0][k] != plans[1][k]).any() for k in plans[0])
    with pytest.raises(UsageError, match="conditioning=nothing"):
        compare(MODEL, config(criteria=("snacs:conditioning=nothing",)), out=tmp_path / "q")
    assert not (tmp_path / "q").exists()


def test_other_folders_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(FileSystemError, match="other files"):
        compare(MODEL, config(), out=tmp_path, overwrite=True)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_models_without_classes_are_held_against_errors(tmp_path: Path) -> None:
    text = """<ir_version: 8, opset_import: ["" : 17]>
    net (float[N,2,4] x, float[4,16] w_a, float[16,3] w_b) => (float[N,2,3] y) {
      a = MatMul(x, w_a)  r = Relu(a)  y = MatMul(r, w_b)
    }"""
    path, data = tmp_path / "net.onnx", tmp_path / "x.npz"
    onnx.save(model_from_text(text, integers=False), path)
    np.savez(data, x=np.random.default_rng(0).standard_normal((200, 2, 4)).astype(np.float32))
    asked = config(data=DataConfig(str(data)), criteria=("l1",), recover=("none",))
    done = compare(path, asked, out=tmp_path / "r")
    (row,) = done.standings
    assert not done.is_top1
    assert row.good is not None
    assert row.rel_error is not None
    assert row.good[0] == pytest.approx(1 - row.rel_error[0])
    assert "error" in done.advice


def trial(criterion: str, agrees: list[int], seconds: float, seed: int = 0) -> TrialRun:
    bits = np.array(agrees, dtype=bool)
    drift = Drift(len(agrees), 0.1, float(bits.mean()))
    return TrialRun(
        criterion,
        "macs=0.5",
        "auto",
        seed,
        kept={"macs": 0.5},
        seconds=seconds,
        drift=drift,
        hits=np.packbits(bits).tobytes().hex(),
        counted=len(agrees),
    )


def test_standings_are_paired_and_the_advice_is_the_fastest_good_one() -> None:
    good = [1] * 95 + [0] * 5
    near = [1] * 94 + [0] * 6  # one answer of a hundred: no difference to speak of
    poor = [1] * 60 + [0] * 40
    trials = [
        trial("best", good, 30.0),
        trial("quick", near, 3.0),
        trial("poor", poor, 1.0),
        trial("drawn", poor, 5.0, seed=0),
        trial("drawn", good, 7.0, seed=1),
    ]
    scorings = [Scoring("quick", 0, 2.0, 0.7, 0.8), Scoring("best", 0, 10.0)]
    done = make_trials("m", "f", trials, scorings)
    rows = {row.criterion: row for row in done.standings}
    assert rows["quick"].behind == pytest.approx((0.01, 0.01))
    assert rows["poor"].behind == pytest.approx((0.35, 0.04794), abs=1e-4)
    assert rows["drawn"].good == pytest.approx((0.775, 0.2475), abs=1e-4)
    assert rows["drawn"].seconds == pytest.approx(6.0)
    assert rows["quick"].seconds == pytest.approx(5.0)
    assert (rows["quick"].damage, rows["quick"].damage_refit) == (0.7, 0.8)
    assert [row.criterion for row in done.standings if row.best] == ["best", "quick", "poor"]
    assert done.advice == (
        "The fastest good choice is quick with --recover auto at macs=0.5 (94.0 % agree after 5 s; "
        "best: 95.0 % agree)."
    )
    assert make_trials("m", "f", [TrialRun("a", "macs=0.5", "auto", 0, "no")], []).advice == (
        "Nothing that was tried gave a result."
    )


def test_the_plot_is_a_picture_with_all_of_them() -> None:
    done = make_trials("a<b>.onnx", "f", [trial("l1", [1, 0], 1.0), trial("l2", [1, 1], 2.0)], [])
    root = ElementTree.fromstring(pareto_svg(done))
    texts = ["".join(node.itertext()) for node in root.iter()]
    assert "a<b>.onnx" in texts
    assert {"l1", "l2"} <= set(texts)
    circles = [node for node in root.iter() if node.tag.endswith("circle")]
    assert len(circles) == 4  # each in both panels
    ElementTree.fromstring(pareto_svg(make_trials("m", "f", [], [])))
