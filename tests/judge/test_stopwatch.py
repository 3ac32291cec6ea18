"""Times of two models by a clock that is ours."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import numpy as np
import pytest
from onnx import ModelProto

from onnxslim_snacs.judge import stopwatch
from onnxslim_snacs.judge.stopwatch import compare_latency
from onnxslim_snacs.model.session import SessionConfig


class Clock:
    """Goes on only when something is run."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class Timed:
    """A session that takes so many seconds, a little more each time, as a machine that warms up."""

    def __init__(self, clock: Clock, seconds: float, drift: float) -> None:
        self.clock, self.seconds, self.drift, self.runs = clock, seconds, drift, 0

    def run(self, names: object, feeds: object) -> None:
        self.clock.now += self.seconds * (1 + self.drift * self.clock.now)
        self.runs += 1


def compared(monkeypatch: pytest.MonkeyPatch, *seconds: float, drift: float = 0.0) -> Any:
    clock = Clock()
    sessions = [Timed(clock, value, drift) for value in seconds]
    waiting: Iterator[Timed] = iter(sessions)
    monkeypatch.setattr(stopwatch, "perf_counter", clock)
    monkeypatch.setattr(stopwatch, "open_session", lambda *_: next(waiting))
    models = (cast(ModelProto, None), cast(ModelProto, None))
    found = compare_latency(*models, {"x": np.zeros(1)}, SessionConfig(), seconds=60.0)
    return found, sessions


def test_the_first_is_before_and_the_second_after(monkeypatch: pytest.MonkeyPatch) -> None:
    found, sessions = compared(monkeypatch, 2.0, 0.5)
    assert (found.before, found.after, found.ratio) == (2.0, 0.5, 0.25)
    assert found.runs == 24  # of 2.5 s each
    assert [session.runs for session in sessions] == [26, 26]  # two that do not count


def test_both_go_first_in_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that slows down between the two runs of a pair favours neither."""
    found, _ = compared(monkeypatch, 1.0, 1.0, drift=0.01)
    assert found.ratio == pytest.approx(1.0, abs=0.012)


def test_there_are_runs_enough_even_if_they_are_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    found, _ = compared(monkeypatch, 20.0, 10.0)
    assert found.runs == 15
