"""What the tables for people show."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from onnxslim_snacs.judge.drift import Drift
from onnxslim_snacs.plan.cost import Cost
from onnxslim_snacs.recovery.accept import RecoveryReport
from onnxslim_snacs.recovery.jobs import LayerRecord
from onnxslim_snacs.report.listings import print_layers
from onnxslim_snacs.report.make import NO_DATA
from onnxslim_snacs.report.phrases import drift_line
from onnxslim_snacs.report.report import Report


def record(number: int, *, kept: bool = True) -> LayerRecord:
    return LayerRecord(f"conv{number}", "Conv", "sum", 0.5, 0.01 * number, kept, 0.1)


def shown(recovery: RecoveryReport) -> str:
    console = Console(file=io.StringIO(), width=100)
    print_layers(recovery, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_layers_with_the_largest_error_are_shown() -> None:
    untried = LayerRecord("pool", "Pool", reason="no weights")
    layers = (*(record(k) for k in range(1, 8)), record(9, kept=False), untried)
    text = shown(RecoveryReport("auto", "least-squares", None, layers))
    names = [word for word in text.split() if word.startswith("conv")]
    assert names == ["conv9", "conv7", "conv6", "conv5", "conv4"]
    assert "no better" in text
    assert "3 more" in text
    assert "pool" not in text


def test_nothing_is_shown_of_what_was_thrown_away() -> None:
    assert shown(RecoveryReport("auto", "none", None, (record(1),))) == ""


@pytest.mark.parametrize(("warnings", "words"), [((), "held-out"), ((NO_DATA,), "tell little")])
def test_random_samples_are_called_so(warnings: tuple[str, ...], words: str) -> None:
    drift, cost = Drift(64, 0.1, 0.97, 0.02, 0.01, 0.05), Cost(1, 1, 1)
    report = Report("m", None, cost, cost, (), (), None, drift, "snacs", warnings=warnings)
    line = drift_line(report)
    assert words in line
    assert "0.9500 on samples mixed in pairs" in line
