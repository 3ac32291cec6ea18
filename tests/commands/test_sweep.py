"""Sweeps: every run once, whatever interrupts them, and a table that says what came of each."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from onnxslim_snacs.commands import sweep as home
from onnxslim_snacs.commands.cells import run_cell
from onnxslim_snacs.commands.sweep import ending, find_models, sweep
from onnxslim_snacs.config import Budget, CompressConfig, DataConfig, Drop, Goal, Ratio
from onnxslim_snacs.errors import UsageError
from onnxslim_snacs.report.grid import Row
from tests.cli.conftest import Cli, cli  # noqa: F401
from tests.harness import model_from_text

NET = """<ir_version: 8, opset_import: ["" : 17]>
net (float[N,4] x, float[4,8] w_a, float[8,8] w_b, float[8,3] w_c) => (float[N,3] y) {
  a = MatMul(x, w_a)  r = Relu(a)  b = MatMul(r, w_b)  s = Relu(b)  y = MatMul(s, w_c)
}"""
#: Nothing can go: its channels are its input and its output.
BARE = """<ir_version: 8, opset_import: ["" : 17]>
net (float[N,4] x, float[4,3] w_a) => (float[N,3] y) { y = MatMul(x, w_a) }"""
PLAIN = CompressConfig(criterion="l1", recover="none")


def save(path: Path, text: str = NET) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model_from_text(text, integers=False), path)
    return str(path)


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> list[str]:
    """Runs are made in this process, which is quicker, and noted."""
    made: list[str] = []
    if "processes" in request.keywords:
        return made

    def run(*given: object) -> Iterator[tuple[int, Row]]:
        cells: Any = given[-1]
        for number, cell in enumerate(cells):
            made.append(cell.goal)
            yield number, run_cell(cell)

    monkeypatch.setattr(home, "run_on", run)
    return made


def test_there_is_a_row_for_each_model_goal_and_criterion(tmp_path: Path) -> None:
    models = [save(tmp_path / "a.onnx"), save(tmp_path / "b.onnx")]
    goals: list[Goal] = [Ratio(0.25), Ratio(0.5), Budget({"params": 0.7})]
    rows = sweep(models, PLAIN, out=tmp_path / "o", goals=goals, criteria=["l1", "random"])
    asked = [(Path(row.model).stem, row.goal, row.criterion) for row in rows]
    texts = ["ratio=0.25", "ratio=0.5", "params=0.7"]
    assert asked == [(m, g, c) for m in "ab" for g in texts for c in ("l1", "random")]
    assert {row.code for row in rows} == {0}
    # 8 -> 6 -> 6 of 32 + 64 + 24, and 8 -> 4 -> 4
    assert rows[0].params == pytest.approx((24 + 36 + 18) / 120)
    assert rows[2].params == pytest.approx((16 + 16 + 12) / 120)
    assert all(Path(row.output).exists() for row in rows)


def test_a_refusal_is_a_row_with_its_reason(tmp_path: Path) -> None:
    models = [save(tmp_path / "a.onnx", BARE), save(tmp_path / "b.onnx")]
    (tmp_path / "c.onnx").write_bytes(b"no model")
    rows = sweep([*models, str(tmp_path / "c.onnx")], PLAIN, out=tmp_path / "o", goals=[Ratio(0.5)])
    assert [row.code for row in rows] == [4, 0, 3]
    assert "graph output" in rows[0].reason
    assert rows[0].output == ""


def test_what_is_there_is_not_made_again(tmp_path: Path, here: list[str]) -> None:
    model = save(tmp_path / "a.onnx")
    first = sweep([model], PLAIN, out=tmp_path / "o", goals=[Ratio(0.25)])
    more = sweep([model], PLAIN, out=tmp_path / "o", goals=[Ratio(0.25), Ratio(0.5)])
    assert here == ["ratio=0.25", "ratio=0.5"]
    assert more[0] == first[0]


@pytest.mark.parametrize("spoil", ["row", "output", "model", "settings"])
def test_a_run_is_made_again_if_it_is_not_whole_or_not_the_same(
    tmp_path: Path, here: list[str], spoil: str
) -> None:
    model, out = save(tmp_path / "a.onnx"), tmp_path / "o"
    (row,) = sweep([model], PLAIN, out=out, goals=[Ratio(0.25)])
    config = PLAIN
    if spoil == "row":
        (kept,) = (out / "runs").iterdir()
        kept.write_text(kept.read_text()[:40])
    elif spoil == "output":
        Path(row.output).unlink()
    elif spoil == "model":
        save(tmp_path / "a.onnx", NET.replace("w_c) =>", "w_c, float[3] w_z) =>"))
    else:
        config = CompressConfig(criterion="l1", recover="none", seed=1)
    sweep([model], config, out=out, goals=[Ratio(0.25)])
    assert here == ["ratio=0.25"] * 2


def test_an_interrupted_sweep_ends_with_the_same_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, out = save(tmp_path / "a.onnx"), tmp_path / "o"
    goals: list[Goal] = [Ratio(0.25), Ratio(0.5), Drop(0.5)]
    whole: Any = vars(home)["run_on"]

    def broken(*given: object) -> Iterator[object]:
        yield next(iter(whole(*given)))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(home, "run_on", broken)
        with pytest.raises(KeyboardInterrupt):
            sweep([model], PLAIN, out=out, goals=goals)
    assert len(list((out / "runs").iterdir())) == 1
    rows = sweep([model], PLAIN, out=out, goals=goals)
    first = (out / "summary.json").read_bytes()
    assert sweep([model], PLAIN, out=out, goals=goals) == rows
    assert (out / "summary.json").read_bytes() == first


def test_the_table_is_written_as_json_and_csv(tmp_path: Path) -> None:
    models = [save(tmp_path / "a.onnx"), save(tmp_path / "b.onnx", BARE)]
    rows = sweep(models, PLAIN, out=tmp_path / "o", goals=[Ratio(0.5)])
    said = json.loads((tmp_path / "o/summary.json").read_text())
    assert said["format"] == 1
    assert [row["params"] for row in said["rows"]] == [rows[0].params, None]
    lines = list(csv.DictReader((tmp_path / "o/summary.csv").open()))
    assert [line["code"] for line in lines] == ["0", "4"]
    assert float(lines[0]["params"]) == rows[0].params


def test_each_model_has_its_own_data(tmp_path: Path) -> None:
    models = [save(tmp_path / name / "net.onnx") for name in ("one", "two")]
    for name, count in (("one", 40), ("two", 80)):
        drawn = np.random.default_rng(0).standard_normal((count, 4)).astype(np.float32)
        np.savez(tmp_path / name / "net.npz", x=drawn)
    config = CompressConfig(criterion="l1", data=DataConfig("{folder}/{stem}.npz"))
    rows = sweep(models, config, out=tmp_path / "o", goals=[Ratio(0.25)])
    held = [json.loads(Path(r.output).with_suffix(".report.json").read_text()) for r in rows]
    assert [report["drift"]["samples"] for report in held] == [10, 20]


def test_names_folders_and_patterns_stand_for_models(tmp_path: Path) -> None:
    a, b = save(tmp_path / "m/a.onnx"), save(tmp_path / "m/deep/b.onnx")
    save(tmp_path / "m/out/c.onnx")
    but = tmp_path / "m/out"
    assert find_models([a, a], but=but) == (Path(a),)
    assert find_models([str(tmp_path / "m")], but=but) == (Path(a), Path(b))
    assert find_models([str(tmp_path / "m/**/*.onnx")], but=but) == (Path(a), Path(b))
    with pytest.raises(UsageError, match=r"none\*"):
        find_models([a, str(tmp_path / "none*")], but=but)


def test_the_exit_code_tells_faults_and_whether_anything_was_written() -> None:
    def code(*codes: int) -> int:
        return ending([Row("m", "g", "c", "r", code) for code in codes])

    assert [code(0, 4, 3), code(4, 3), code(0, 5), code(0, 1), code(7)] == [0, 4, 5, 1, 7]


@pytest.mark.processes
def test_the_command_runs_in_processes_and_goes_on(tmp_path: Path, cli: Cli) -> None:  # noqa: F811
    save(tmp_path / "a.onnx")
    save(tmp_path / "b.onnx", BARE)
    line = ("sweep", tmp_path / "*.onnx", "--out", tmp_path / "o", "--recover", "none")
    said = cli(*line, "--criterion", "l1", "--ratio", 0.5, "--jobs", 2, "--json").json()
    assert [row["code"] for row in said["rows"]] == [0, 4]
    shown = cli(*line, "--criterion", "l1", "--ratio", 0.5).out
    assert "b.onnx, ratio=0.5, l1: exit code 4" in shown
    cli("sweep", tmp_path / "b.onnx", *line[2:], "--criterion", "l1", "--ratio", 0.5, code=4)
    cli("sweep", tmp_path / "c*.onnx", "--out", tmp_path / "o", code=2)
