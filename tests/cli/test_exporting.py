"""`export-plan` from the command line."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.conftest import Cli


def test_a_plan_as_indices(cli: Cli, model: Path, data: Path, tmp_path: Path) -> None:
    plan = tmp_path / "plan.json"
    cut = ("--ratio", "0.5", "--criterion", "l1", "--recover", "none", "--plan-out", plan)
    cli("compress", model, "--data", data, *cut)
    told = cli("export-plan", plan, "--model", model).out
    assert "stored tensors are cut" in told
    written = json.loads((tmp_path / "plan.axes.json").read_text())
    shown = cli("export-plan", plan, "--model", model, "--json", "--force").json()
    assert shown == written
    first = next(t for t in shown["tensors"].values() if "0" in t["axes"])
    assert len(first["axes"]["0"]) < first["shape"][0]
    cli("export-plan", plan, "--model", model, code=6)  # it is there already
    cli("export-plan", plan, "--model", model, "--format", "yaml", "--force", code=2)
    cli("export-plan", plan, "--model", model, "--state-dict", tmp_path / "no", "--force", code=6)
