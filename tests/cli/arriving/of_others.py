"""Options of apply, verify, bench and inspect."""

from __future__ import annotations

from typing import Any

from tests.cli.arriving.kit import NORM, QUICK, STEPS, Kit, provider_arrives, threads_arrive
from tests.cli.arriving.of_data import data, input_shape, sample_axis


def apply_threads(kit: Kit) -> None:
    model, out, plan = kit.cut()
    threads_arrive(kit, "apply", model, plan, "-o", out, "--force")


def apply_input_shape(kit: Kit) -> None:
    plan, out = kit.folder / "p.json", kit.folder / "o.onnx"
    kit.compress(*QUICK, "--plan-out", plan, text=STEPS)
    model = kit.folder / "net.onnx"
    input_shape(kit, lambda *line: kit.cli("apply", model, plan, "-o", out, "--force", *line))


def verify_threads(kit: Kit) -> None:
    model, out, plan = kit.cut()
    threads_arrive(kit, "verify", model, out, "--plan", plan)


def verify_input_shape(kit: Kit) -> None:
    plan = kit.folder / "p.json"
    kit.compress(*QUICK, "--plan-out", plan, text=STEPS)
    model, out = kit.folder / "net.onnx", kit.folder / "net.slim.onnx"
    input_shape(kit, lambda *line: kit.cli("verify", model, out, "--plan", plan, *line))


def verify_plan(kit: Kit) -> None:
    model, out, plan = kit.cut()
    kit.cli("verify", model, out, "--plan", plan)
    other = kit.folder / "other.json"
    line = ("--criterion", "l1", "--ratio", 0.5, "--recover", "none", "--plan-out", other)
    kit.compress(*line, "-o", kit.folder / "other.onnx")
    kit.cli("verify", model, out, "--plan", other, code=5)


def bench(kit: Kit, *line: object, code: int = 0) -> Any:
    model, out, _ = kit.cut()
    ended = kit.cli("bench", model, out, *line, "--json", code=code)
    return ended.json() if code == 0 else None


def bench_batch(kit: Kit) -> None:
    for number in (1, 5):
        runtime = kit.runtime()
        bench(kit, "--batch", number)
        timed = [opened for opened in runtime.opened if len(opened.feeds) > 10]
        assert len(timed) == 2
        assert {f["x"].shape for opened in timed for f in opened.feeds} == {(number, 4)}


def bench_threads(kit: Kit) -> None:
    model, out, _ = kit.cut()
    threads_arrive(kit, "bench", model, out)
    assert kit.cli("bench", model, out, "--threads", 3, "--json").json()["threads"] == 3


def bench_provider(kit: Kit) -> None:
    model, out, _ = kit.cut()

    def run(*wanted: object, code: int = 0) -> Any:
        ended = kit.cli("bench", model, out, *wanted, "--json", code=code)
        return ended.json() if code == 0 else None

    provider_arrives(kit, run, lambda result: str(result["provider"]))


def bench_data(kit: Kit) -> None:
    model, out, _ = kit.cut()
    data(kit, lambda *line: kit.cli("bench", model, out, *line))


def bench_input_shape(kit: Kit) -> None:
    kit.compress(*QUICK, text=STEPS)
    model, out = kit.folder / "net.onnx", kit.folder / "net.slim.onnx"
    input_shape(kit, lambda *line: kit.cli("bench", model, out, *line))


def bench_sample_axis(kit: Kit) -> None:
    kit.compress(*QUICK, text=STEPS)
    model, out = kit.folder / "net.onnx", kit.folder / "net.slim.onnx"
    sample_axis(kit, lambda *line: kit.cli("bench", model, out, *line))


def inspect_input_shape(kit: Kit) -> None:
    model = kit.model(STEPS)
    input_shape(kit, lambda *line: kit.cli("inspect", model, *line))


def inspect_allow_inexact(kit: Kit) -> None:
    model = kit.model(NORM)
    found = [
        kit.cli("inspect", model, "--json", *line).json()["groups"]
        for line in ((), ("--allow-inexact",))
    ]
    assert [len(groups) for groups in found] == [0, 1]


def inspect_why(kit: Kit) -> None:
    assert "graph output" in kit.cli("inspect", kit.model(), "--why", "y").out
