"""Every criterion through the main command, registered ones without being named here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx

from onnxslim_snacs.plan.written import load_plan
from onnxslim_snacs.scores.criterion import Criterion
from tests.cli.conftest import Cli
from tests.harness import model_from_text
from tests.scores.test_contract import EVERY, LOOKS_ELSEWHERE, MODELS, changed, samples, without


@EVERY
def test_through_the_main_command(criterion: Criterion, cli: Cli, tmp_path: Path) -> None:
    """The unit that nobody reads goes, every group is decided, the same seed decides the same."""
    model = model_from_text(MODELS["chain"], integers=False)
    unread = 4
    for number in (0, 1):
        model = changed(model, "chain", number, lambda a: without(a, unread), readers=True)
    path, data, plan = (tmp_path / n for n in ("net.onnx", "x.npz", "p.json"))
    onnx.save(model, path)
    np.savez(data, **samples(model))  # type: ignore[arg-type]
    line = ("compress", path, "--data", data, "--criterion", criterion.name, "--force", "--json")
    plans = []
    for _ in range(2):
        report = cli(*line, "--ratio", "0.25", "--plan-out", plan, "--seed", 3).json()
        plans.append([np.flatnonzero(stays).tolist() for stays in load_plan(plan).kept().values()])
    assert report["criterion"] == criterion.name
    assert report["proof"]["passed"]
    assert plans[0] == plans[1]
    assert [len(kept) for kept in plans[0]] == [6, 5]
    if criterion.name not in LOOKS_ELSEWHERE:
        assert all(unread not in kept for kept in plans[0])
