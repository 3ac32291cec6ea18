"""Where a run is: an estimate that learns, lines without a terminal, JSON, silence."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from onnxslim_snacs.cli.bars import progress_bars
from onnxslim_snacs.cli.overall import Overall, about, announced
from onnxslim_snacs.cli.showing import Showing
from onnxslim_snacs.progress import Foreseen
from tests.cli.conftest import Cli

EXPECTED = Foreseen({"score": 10.0, "decide": 20.0, "recover": 10.0}, 256, 4_100_000_000)


@dataclass
class Hand:
    """A clock that is moved by hand."""

    seconds: float = 0.0

    def __call__(self) -> float:
        return self.seconds


def begun(hand: Hand) -> Overall:
    overall = Overall(hand)
    overall.begin("load")
    hand.seconds = 1.0
    overall.foresee(EXPECTED)
    overall.begin("score")
    return overall


def test_what_is_left_is_what_was_foreseen() -> None:
    overall = begun(Hand())
    assert overall.left == pytest.approx(40.0)
    assert overall.share == pytest.approx(1 / 41)


def test_what_took_twice_as_long_doubles_the_rest() -> None:
    """Two seconds weigh for what was expected: (20 + 2) / (10 + 2) of the rest's 30."""
    hand = Hand()
    overall = begun(hand)
    hand.seconds = 21.0
    overall.begin("decide")
    assert overall.left == pytest.approx(30.0 * 22 / 12)


def test_a_stage_that_says_how_far_it_is_is_believed() -> None:
    hand = Hand()
    overall = begun(hand)
    hand.seconds = 11.0
    overall.begin("decide")
    hand.seconds = 21.0
    overall.tell("second moments", 99, 100)  # a step within a step
    assert overall.left == pytest.approx(10.0 + 10.0)
    overall.tell("allocations", 1, 4)
    assert overall.left == pytest.approx(30.0 + 10.0)


def test_a_stage_that_is_late_has_something_left() -> None:
    hand = Hand()
    overall = begun(hand)
    hand.seconds = 101.0
    assert overall.left == pytest.approx(30.0 + 25.0)


def test_the_bar_never_goes_back_and_ends_below_one() -> None:
    hand = Hand()
    overall = begun(hand)
    shares = []
    for second in range(1, 200):
        hand.seconds = float(second)
        if second in (40, 90):
            overall.begin({40: "decide", 90: "recover"}[second])
        shares.append(overall.share)
    assert shares == sorted(shares)
    assert shares[-1] < 1.0


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "a second"), (7.2, "7 seconds"), (43.0, "45 seconds"), (170.0, "3 minutes")],
)
def test_times_are_said_as_one_says_them(seconds: float, words: str) -> None:
    assert about(seconds) == words


def test_the_estimate_is_a_sentence() -> None:
    assert announced(EXPECTED) == "about 40 seconds: 256 samples, 4.1 GMACs"


def test_each_stage_has_a_line_where_there_is_no_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    hand = Hand()
    monkeypatch.setattr("onnxslim_snacs.cli.bars.Overall", partial(Overall, hand))
    with progress_bars(Showing("plain")) as bars:
        bars.progress("load", 0, 0)  # short
        hand.seconds = 1.0
        bars.foresee(EXPECTED)
        for stage, seconds in (("score", 11.0), ("decide", 31.0), ("recover", 41.0)):
            bars.progress(stage, 0, 0)
            bars.progress("error curves", 1, 2)
            hand.seconds = seconds
    assert capsys.readouterr().err.splitlines() == [
        "about 40 seconds: 256 samples, 4.1 GMACs",
        "[    1 s] score, about 40 seconds left",
        "[   11 s] decide, about 30 seconds left",
        "[   31 s] recover, about 10 seconds left",
    ]


def test_verbose_says_what_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bars(Showing("auto", verbose=True)) as bars:
        bars.progress("score", 0, 0)
        for done in range(3):
            bars.progress("activations", done, 300)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split("] ")[1] for line in lines] == ["score", "  activations: 300"]


def test_json_is_one_object_a_line(cli: Cli, model: Path, data: Path) -> None:
    line = ("compress", model, "--data", data, "--target", "macs=0.5", "--progress", "json")
    said = [json.loads(text) for text in cli(*line).err.splitlines()]
    stages = [one["stage"] for one in said]
    assert list(dict.fromkeys(stages))[:3] == ["load", "data", "analyse"]
    assert {"score", "decide", "recover"} <= set(stages)
    shares = [one["share"] for one in said]
    assert shares == sorted(shares)
    assert said[0]["left"] is None
    assert all(one["left"] > 0 for one in said if one["stage"] == "decide")


@pytest.mark.parametrize("option", ["-q", "--quiet"])
def test_quiet_says_nothing(option: str, cli: Cli, model: Path) -> None:
    line = ("compress", model, "--ratio", 0.25, "--criterion", "l1", "--force")
    assert "no --data" in cli(*line).err
    assert cli(*line, option).err == ""
