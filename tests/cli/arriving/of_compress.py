"""Options of compress that say how much goes, what chooses, and where it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from onnxslim_snacs.activations.in_common import Common
from onnxslim_snacs.config.spending import RowCount
from onnxslim_snacs.layers.consumers import consumer_moments
from onnxslim_snacs.plan.written import load_plan
from onnxslim_snacs.scores.criterion import Option, ScoreContext, ScoreResult
from tests.cli.arriving.kit import (
    NORM,
    QUICK,
    RESIDUAL,
    Kit,
    kept,
    left,
    provider_arrives,
    threads_arrive,
)
from tests.harness import model_from_text
from tests.passes.test_rotate import LAYER_NORM, transformer


def target(kit: Kit) -> None:
    for share in (0.4, 0.8):
        found = left(kit.compress(*QUICK[:2], "--target", f"params={share}", "--tries", 0))
        assert share - 0.15 < found <= share


def ratio(kit: Kit) -> None:
    line = (*QUICK[:2], *QUICK[4:])
    assert kept(kit.compress(*line, "--ratio", 0.25)) == [6, 6]
    assert kept(kit.compress(*line, "--ratio", 0.5)) == [4, 4]


def max_drop(kit: Kit) -> None:
    kit.drop_by_size()
    found = {}
    for most in (0.15, 0.45):
        line = (*QUICK[:2], "--recover", "none", "--data", kit.data(), "--max-drop", most)
        report = kit.compress(*line)
        assert report["notes"]["max_drop"] == most
        found[most] = report["drift"]["rel_error"]
        assert 0 < found[most] <= most
    assert found[0.45] > 0.15


#: How much of the network is left, in shares of its 120 weights.
SIZE_LEFT = """
import onnx
import pytest
from math import prod

def left(data):
    return sum(prod(t.dims) for t in onnx.ModelProto.FromString(data).graph.initializer) / 120
"""


def judge(kit: Kit) -> None:
    (kit.folder / "size_left.py").write_text(SIZE_LEFT)
    kit.patch.chdir(kit.folder)
    found = {}
    for most in (0.15, 0.45):
        line = (*QUICK[:2], "--recover", "none", "--data", kit.data(), "--max-drop", most)
        report = kit.compress(*line, "--judge", "size_left:left")
        drift = report["drift"]
        assert drift["metric_before"] == 1.0
        assert drift["metric_after"] == report["after"]["params"] / 120
        found[most] = 1.0 - drift["metric_after"]
        assert 0 < found[most] <= most
    assert found[0.45] > 0.15


def allow_slower(kit: Kit) -> None:
    kit.clock(0.9, 1.05)
    line = (*QUICK[:2], "--recover", "none", "--target", "latency=0.95")
    kit.compress(*line, code=4)
    assert kit.compress(*line, "--allow-slower")["latency"]["ratio"] == 1.05


def tries(kit: Kit) -> None:
    line = ("--criterion", "l1", "--target", "params=0.6", "--data", kit.data())
    for number in (2, 4):
        assert len(kit.compress(*line, "--tries", number)["notes"]["allocations"]) == number
    assert "allocations" not in kit.compress(*line, "--tries", 0)["notes"]


def effort(kit: Kit) -> None:
    line = ("--criterion", "l1", "--target", "params=0.6", "--data", kit.data())
    asked: list[int] = []

    def moments(*given: Any, rows: RowCount, **named: Any) -> object:
        asked.append(rows.of(1))
        return consumer_moments(*given, rows=rows, **named)

    kit.patch.setattr("onnxslim_snacs.scores.refit.consumer_moments", moments)
    plan = kit.folder / "plan.json"
    for name in ("normal", "fast"):
        kit.compress(*line, "--effort", name, "--plan-out", plan, "--force")
        refit = load_plan(plan).refit
        assert refit is not None
        assert refit.effort == name
    assert asked == [1 << 16, 1 << 13]


def ascending(context: ScoreContext, weight: float = 1.0) -> ScoreResult:
    """Later units count more; every unit of the last group counts more than the others'."""
    groups = enumerate(context.analysis.ir.groups)
    return ScoreResult(
        {g.id: weight * (100 * k + np.arange(g.units, dtype=float)) for k, g in groups}
    )


def criterion(kit: Kit) -> None:
    kit.criterion(ascending)
    found = kit.plan("--criterion", "mine", "--ratio", 0.5, "--recover", "none")
    assert found == [[4, 5, 6, 7]] * 2
    assert kit.compress("--criterion", "mine", "--ratio", 0.5)["criterion"] == "mine"


def option(kit: Kit) -> None:
    kit.criterion(ascending, Option("weight", float, ""))
    line = ("--criterion", "mine", "--ratio", 0.5, "--recover", "none", "--option")
    assert kit.plan(*line, "weight=-1") == [[0, 1, 2, 3]] * 2
    kit.compress(*line, "height=1", code=2)


def allocation(kit: Kit) -> None:
    kit.criterion(ascending)
    line = ("--criterion", "mine", "--target", "params=0.7", "--recover", "none", "--allocation")
    first, second = kept(kit.compress(*line, "scores"))
    assert (first < 8, second) == (True, 8)  # all of the second group is worth more
    uniform = kept(kit.compress(*line, "uniform"))
    assert abs(uniform[0] - uniform[1]) <= 1
    assert max(uniform) < 8
    assert "allocate" in kit.compress(*line, "curves")["timings"]
    assert "allocate" not in kit.compress(*line, "uniform")["timings"]


def recover(kit: Kit) -> None:
    line = ("--criterion", "l1", "--ratio", 0.5, "--data", kit.data(), "--recover")
    for how in ("bias", "least-squares"):
        recovery = kit.compress(*line, how)["recovery"]
        assert recovery["asked"] == how
        assert recovery["used"] in (how, "none")
    assert {kit.compress(*line, how)["recovery"]["used"] for how in ("least-squares", "none")} == {
        "least-squares",
        "none",
    }


def allow_inexact(kit: Kit) -> None:
    kit.compress(*QUICK, text=NORM, code=4)
    assert kit.compress(*QUICK, "--allow-inexact", text=NORM)["inexact"]


def residual(kit: Kit) -> tuple[str | Path, ...]:
    """A net of three blocks of three weights each, and its samples."""
    onnx.save(model_from_text(RESIDUAL, integers=False), kit.folder / "net.onnx")
    return ("compress", kit.folder / "net.onnx", *QUICK[:2], "--data", kit.data(), "--json")


def blocks(kit: Kit) -> None:
    line = (*residual(kit), "--ratio", 0.5, "--recover", "none", "--force")
    assert kit.cli(*line).json()["dropped"] is None
    assert kit.cli(*line, "--blocks").json()["dropped"]["found"] == 3


def block_order(kit: Kit) -> None:
    line = (*residual(kit), "--drop", 2, "--ratio", 0, "--blocks", "--force", "--block-order")
    for order in ("error", "energy", "correlation"):
        found = kit.cli(*line, order).json()["dropped"]
        assert (found["order"], len(found["blocks"])) == (order, 2)


def drop(kit: Kit) -> None:
    line = (*residual(kit), "--ratio", 0, "--blocks", "--force", "--drop")
    for number in (0, 1, 3):
        assert len(kit.cli(*line, number).json()["dropped"]["blocks"]) == number


def finetune_minutes(kit: Kit) -> None:
    line = ("compress", kit.model(), *QUICK[:2], "--ratio", 0.5, "--data", kit.data(300), "--json")
    assert kit.cli(*line, "--force").json()["tuned"] is None
    told = kit.cli(*line, "--force", "--finetune", 0.02).json()["tuned"]
    assert told["minutes"] == 0.02
    assert 1.2 <= told["seconds"] < 10 * 1.2


def width(kit: Kit) -> None:
    """Of a stream of eight channels behind normalisations, beside a branch of twelve."""
    model, path = kit.folder / "net.onnx", kit.folder / "x.npz"
    onnx.save(transformer(LAYER_NORM), model)
    drawn = np.random.default_rng(0).standard_normal((80, 5, 6)).astype(np.float32)
    np.savez(path, x=drawn)
    line = ("compress", model, *QUICK, "--data", path, "--force", "--json", "--width")
    found = {how: kit.cli(*line, how).json() for how in ("exact", "refit", "rotate")}
    assert [group["units"] for group in found["exact"]["groups"]] == [12]
    assert found["refit"]["inexact"]
    assert not found["rotate"]["inexact"]
    assert sum(group["units"] for group in found["rotate"]["groups"]) > 12


def protect(kit: Kit) -> None:
    assert kept(kit.compress(*QUICK, "--protect", "w_a")) == [8, 6]
    assert kept(kit.compress(*QUICK)) == [6, 6]


def multiple_of(kit: Kit) -> None:
    line = (*QUICK[:2], "--ratio", 0.5, "--recover", "none")
    assert kept(kit.compress(*line)) == [4, 4]
    assert kept(kit.compress(*line, "--multiple-of", 3)) == [6, 6]


def seed(kit: Kit) -> None:
    plans = [kit.plan("--criterion", "random", "--ratio", 0.5, "--seed", s) for s in (0, 0, 5)]
    assert plans[0] == plans[1] != plans[2]
    assert kit.compress(*QUICK, "--seed", 5)["seed"] == 5


def threads(kit: Kit) -> None:
    line = ("--data", kit.data(), "--target", "params=0.6", "--tries", 2, "--criterion", "snacs")
    threads_arrive(kit, "compress", kit.model(), *line, "--force")


def cluster(kit: Kit) -> None:
    asked = []

    @contextmanager
    def nobody(address: str, begin: Callable[[], Common]) -> Iterator[None]:
        asked.append((address, begin().samples.scoring.samples))
        yield None

    kit.patch.setattr("onnxslim_snacs.commands.shared.spread_over", nobody)
    kit.compress(*QUICK, "--data", kit.data(), "--cluster", "local:3", "--samples", 40)
    assert asked == [("local:3", 30)]


def arithmetic(kit: Kit) -> None:
    pytest.importorskip("torch")

    def said(*wanted: object) -> object:
        return kit.compress(*QUICK, "--data", kit.data(), *wanted)["arithmetic"]

    assert [said(), said("--arithmetic", "numpy")] == ["numpy", "numpy"]
    assert said("--arithmetic", "torch") == "torch on cpu"


def provider(kit: Kit) -> None:
    def run(*wanted: object, code: int = 0) -> Any:
        return kit.compress(*QUICK, "--data", kit.data(), *wanted, code=code)

    provider_arrives(kit, run, lambda report: str(report["provider"]))
