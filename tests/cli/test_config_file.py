"""`--config` and `--print-config`, and what `--help` says."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from onnxslim_snacs import errors
from onnxslim_snacs.cli.config_file import read_config
from onnxslim_snacs.cli.panels import EXIT_CODES
from onnxslim_snacs.config import CompressConfig
from tests.cli.conftest import Cli
from tests.config.test_line import CONFIGS


@pytest.mark.parametrize("number", range(len(CONFIGS)))
def test_what_is_printed_can_be_read(number: int, cli: Cli, tmp_path: Path) -> None:
    from onnxslim_snacs.config.line import as_options

    path = tmp_path / "run.yaml"
    path.write_text(cli("compress", "m.onnx", *as_options(CONFIGS[number]), "--print-config").out)
    assert read_config(path) == CONFIGS[number]
    again = cli("compress", "m.onnx", "--config", path, "--print-config").out
    assert again == path.read_text()


def test_what_is_typed_goes_before_the_file(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("target: {macs: 0.5}\nseed: 3\ndata: {mean: [0.5]}\nallow_inexact: true\n")
    line = ("compress", "m.onnx", "--config", path, "--print-config", "--seed", 4)
    found = yaml.safe_load(cli(*line, "--target", "params=0.25").out)
    assert found["target"] == {"params": 0.25}
    assert found["seed"] == 4
    assert found["data"]["mean"] == [0.5]
    assert found["allow_inexact"] is True


def test_the_file_decides(cli: Cli, tmp_path: Path, model: Path, data: Path) -> None:
    """The same bytes as with the same options typed."""
    typed = ("--ratio", 0.5, "--criterion", "l1", "--data", data, "--seed", 1)
    path, first, second = (tmp_path / name for name in ("run.yaml", "a.onnx", "b.onnx"))
    path.write_text(cli("compress", model, *typed, "--print-config").out)
    cli("compress", model, *typed, "-o", first)
    cli("compress", model, "--config", path, "-o", second)
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("criterion: [l1]", ".criterion: got ['l1']"),
        ("targets: {macs: 0.5}", "there is no field targets"),
        ("allocation: best", "allocation best: expected one of curves, uniform, scores"),
        ("a: b: c", "no YAML"),
        ("!!python/object/apply:os.system ['true']", "no YAML"),
    ],
)
def test_a_wrong_file_names_its_field(text: str, said: str, cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(text)
    assert said in cli("compress", "m.onnx", "--config", path, code=2).err


def test_an_empty_file_says_nothing(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("")
    assert read_config(path) == CompressConfig()


def test_help_lists_panels_choices_and_exit_codes(cli: Cli) -> None:
    shown = cli("compress", "--help").out
    places = [
        shown.index(f"─ {panel} ─") for panel in ("Data", "How much goes", "Method", "Output")
    ]
    assert places == sorted(places)
    for choices in ("auto|none|bias|stats|least-squares", "curves|uniform|scores", "auto|cpu|cuda"):
        assert choices in shown
    assert all(f"{code} {words}" in shown for code, words in EXIT_CODES.items())
    assert set(EXIT_CODES) == {0} | {leaf.exit_code for leaf in errors.SnacsError.__subclasses__()}


def test_a_choice_that_there_is_not_is_refused_with_those_there_are(cli: Cli) -> None:
    said = cli("compress", "m.onnx", "--recover", "magic", code=2).err
    assert "least-squares" in said
