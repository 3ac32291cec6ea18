"""A re-fit is kept only if neither what it gets wrong nor what it changes grows."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, cast

import pytest
from onnx import ModelProto

from onnxslim_snacs.judge.drift import Drift
from onnxslim_snacs.judge.judge import Judge
from onnxslim_snacs.recovery import accept
from onnxslim_snacs.recovery.accept import Outcome, recover_cut
from onnxslim_snacs.recovery.jobs import Cut, LayerRecord, Recovered

RAW = Drift(100, 0.5, top1_agreement=0.8)


@dataclass(frozen=True)
class Told:
    """Knows how far each model is from the original, by its name."""

    moved: dict[str, Drift]

    def drift(self, model: ModelProto) -> Drift:
        return self.moved[model.producer_name]


def recovered(
    monkeypatch: pytest.MonkeyPatch, moved: dict[str, Drift], asked: str = "auto"
) -> Outcome:
    """With one method for each model, in that order."""

    def method(name: str) -> Any:
        layer = LayerRecord("conv", "Conv", "sum", 0.5, 0.1, kept=True)
        return lambda cut: Recovered(ModelProto(producer_name=name), (layer,))

    monkeypatch.setattr(accept, "RECOVERIES", {name: method(name) for name in moved})
    cut = SimpleNamespace(model=ModelProto(producer_name="raw"), source=SimpleNamespace())
    cut.source.is_random = False
    return recover_cut(asked, cast(Cut, cut), cast(Judge, Told(moved)), RAW)


@pytest.mark.parametrize(
    ("error", "agreement", "used"),
    [
        (0.4, 0.9, "only"),
        (0.4, 0.8, "only"),  # the same is not worse
        (0.5, 0.9, "only"),
        (0.4, 0.7, "none"),  # nearer, and yet other answers
        (0.6, 0.9, "none"),  # the right answers, and yet further away
        (0.6, 0.7, "none"),
    ],
)
def test_both_numbers_count(
    monkeypatch: pytest.MonkeyPatch, error: float, agreement: float, used: str
) -> None:
    moved = Drift(100, error, top1_agreement=agreement)
    outcome = recovered(monkeypatch, {"only": moved})
    assert outcome.report.used == used
    assert outcome.model.producer_name == ("raw" if used == "none" else "only")
    assert outcome.drift == (RAW if used == "none" else moved)
    assert outcome.report.raw == RAW


def test_the_first_that_helps_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    worse, better = Drift(100, 0.6, top1_agreement=0.9), Drift(100, 0.4, top1_agreement=0.9)
    best = Drift(100, 0.1, top1_agreement=1.0)
    outcome = recovered(monkeypatch, {"first": worse, "second": better, "third": best})
    assert outcome.report.used == "second"
    assert recovered(monkeypatch, {"first": worse, "third": best}, "first").report.used == "none"
