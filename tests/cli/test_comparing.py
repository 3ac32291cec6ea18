"""`compare` from the command line."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.conftest import Cli


def test_the_command_prints_a_table_or_json(
    cli: Cli, model: Path, data: Path, tmp_path: Path
) -> None:
    line = f"compare {model} --data {data} --criteria l1 --target macs=0.5 --tries 0 --no-damage"
    out = tmp_path / "r"
    told = cli(*line.split(), "-o", out).out
    assert "The fastest good choice is l1" in told
    report = cli(*line.split(), "-o", out, "--json").json()
    assert report["advice"] == json.loads((out / "report.json").read_text())["advice"]
    assert len(report["standings"]) == 2
    assert (out / "pareto.svg").read_text().startswith("<svg")
    cli(*line.split(), "-o", out, "--target", "latency=0.5", code=2)
    cli(*line.split(), "-o", out, "--criteria", "nothing", code=2)
