"""Every table as people see it, from values that could not be mistaken for each other."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from onnxslim_snacs.ir.types import InexactNode, PinReason
from onnxslim_snacs.ir.why import Link
from onnxslim_snacs.judge.drift import Drift
from onnxslim_snacs.judge.stopwatch import Latency
from onnxslim_snacs.plan.cost import Cost
from onnxslim_snacs.proof.outcome import Proof
from onnxslim_snacs.recovery.accept import RecoveryReport
from onnxslim_snacs.recovery.jobs import LayerRecord
from onnxslim_snacs.report.console import print_comparison, print_inspection, print_report
from onnxslim_snacs.report.knots import LayerReport
from onnxslim_snacs.report.make import made_by
from onnxslim_snacs.report.report import Comparison, GroupReport, Inspection, Report, to_json

GOLDEN = Path(__file__).with_name("golden")
#: Set, it writes the texts anew; look at what has changed before you commit them.
WRITE = "SNACS_WRITE_GOLDEN"

BEFORE, AFTER = Cost(1000, 20_000, 4000), Cost(250, 8000, 1000)
GROUPS = (
    GroupReport("g0", "w_a[0]", "conv_a", ("w_a[0]", "a[1]"), 16, 12, 300, 6400),
    GroupReport("g1", "w_b[0]", "", ("w_b[0]",), 48, 20, 30, 9000),
)
PINS = (
    PinReason("graph", "graph", "y[1]", "graph output"),
    PinReason("graph", "graph", "z[1]", "graph output"),
    PinReason("shape", "Reshape", "s[2]", "mixes channels"),
)
INEXACT = (InexactNode("n", "LayerNormalization", "n[2]", "takes the mean of fewer channels"),)
PROOF = Proof("consumer-zero", 3.2e-7, 1e-5, 1e-8, 2, True, sizes=({"x": (1, 3)}, {"x": (2, 3)}))
RAW = Drift(64, 0.5, 0.75, 0.054)
LEFT = Drift(64, 0.125, 0.9375, 0.03, 0.01, 0.04, accuracy_before=0.875, accuracy_after=0.8125)
RECOVERY = RecoveryReport(
    "auto",
    "least-squares",
    RAW,
    (
        LayerRecord("conv_a", "Conv", "a", 0.25, 0.0625, True, 1.5),
        LayerRecord("conv_b", "Conv", "b", 0.125, 0.5, False, 0.25),
        LayerRecord("pool", "AveragePool", reason="no weights"),
    ),
)
LAYERS = (
    LayerReport("conv_a", "Conv", (3, 3), (16, 12), (6400, 4800)),
    LayerReport("conv_b", "Conv", (16, 12), (48, 20), (9000, 2812)),
    LayerReport("conv_c", "Conv", (48, 48), (8, 8), (100, 100)),
)
REPORT = Report(
    model="net.onnx",
    output="net.slim.onnx",
    before=BEFORE,
    after=AFTER,
    groups=GROUPS,
    pins=PINS,
    proof=PROOF,
    drift=LEFT,
    criterion="snacs",
    inexact=INEXACT,
    recovery=RECOVERY,
    made=made_by(RECOVERY),
    latency=Latency(before=0.004, after=0.003, ratio=0.76, runs=31),
    notes={"tried": float("nan")},
    timings={"load": 0.5, "score": 1.25},
    layers=LAYERS,
)


def shown(print_it: Callable[[Console], None], width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width)
    print_it(console)
    assert isinstance(console.file, io.StringIO)
    lines = [line.rstrip() for line in console.file.getvalue().splitlines()]
    return "\n".join(lines).strip("\n") + "\n"


def same(found: str, name: str) -> None:
    path = GOLDEN / name
    if os.environ.get(WRITE):
        path.write_text(found)
    assert found == path.read_text(), f"if it is to be so: {WRITE}=1 pytest {__file__}"


def test_report() -> None:
    same(shown(lambda console: print_report(REPORT, console)), "report.txt")


def test_inspection() -> None:
    found = Inspection("net.onnx", BEFORE, GROUPS, PINS)
    same(shown(lambda console: print_inspection(found, console)), "inspection.txt")


def test_inspection_on_a_narrow_terminal() -> None:
    """Nothing is left out that a wide one shows."""
    found = Inspection("net.onnx", BEFORE, GROUPS, PINS)
    same(shown(lambda console: print_inspection(found, console), 60), "inspection_narrow.txt")


def test_explanation() -> None:
    chain = (Link("a[1]", "is tied by Relu r"), Link("y[1]", "graph output"))
    found = Inspection("net.onnx", BEFORE, GROUPS, PINS, (chain,))
    same(shown(lambda console: print_inspection(found, console)), "explanation.txt")


def test_comparison() -> None:
    latency = Latency(before=0.004, after=0.001, ratio=0.25, runs=31)
    found = Comparison(("a/x.onnx", "b/y.onnx"), BEFORE, AFTER, (4100, 1050), latency, 2, "cuda")
    same(shown(lambda console: print_comparison(found, console)), "comparison.txt")


def test_json() -> None:
    """Numbers that are none become null, and every field is there."""
    same(to_json(REPORT), "report.json")
