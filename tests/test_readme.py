"""The documents say what is so: commands, options, exit codes, and the example in Python."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import typer

from onnxslim_snacs import errors
from onnxslim_snacs.cli.app import app
from onnxslim_snacs.scores import CRITERIA

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
REFERENCE = (ROOT / "docs" / "reference.md").read_text()


def test_every_command_is_listed() -> None:
    commands = set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
    assert set(re.findall(r"^\| `([\w-]+)[ `].*\|$", REFERENCE, re.MULTILINE)) >= commands


def test_every_option_that_is_named_exists() -> None:
    text = README + REFERENCE
    root = typer.main.get_command(app)
    commands = root.commands.values()  # type: ignore[attr-defined]
    options = [p for command in (root, *commands) for p in command.params]
    known = {name for p in options for name in (*p.opts, *p.secondary_opts)}
    named = set(re.findall(r"`(--[a-z][a-z-]*)", text)) | set(
        re.findall(r"snacs-onnx .*?(--[a-z][a-z-]*)", text)
    )
    assert named - {"--help"} <= known


def test_every_exit_code_is_listed() -> None:
    leaves = errors.SnacsError.__subclasses__()
    listed = {int(code) for code in re.findall(r"^\| (\d) \|", REFERENCE, re.MULTILINE)}
    assert listed == {0, *(leaf.exit_code for leaf in leaves)}


def test_every_criterion_is_named() -> None:
    assert all(f"`{name}`" in REFERENCE for name in CRITERIA)


def test_the_example_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    shutil.copy(ROOT / "models" / "digits_resnet.onnx", tmp_path / "model.onnx")
    shutil.copy(ROOT / "models" / "digits_calibration.npz", tmp_path / "calibration.npz")
    monkeypatch.chdir(tmp_path)
    exec(compile(example, "README.md", "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert 0.48 < float(lines[0]) <= 0.5
    assert len(lines) == 7
    assert (tmp_path / "model.slim.onnx").exists()


def test_the_readme_is_short() -> None:
    """Rows on commands and options go into docs/reference.md, once each."""
    assert len(README.splitlines()) <= 130
    assert "| command | what it does |" not in README
    rows = re.findall(r"^\| (`[^|]+)\|", REFERENCE, re.MULTILINE)
    assert len(rows) == len(set(rows))
