"""The command line in this process, on a copy of the bundled model."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from onnxslim_snacs.cli.app import run

MODELS = Path(__file__).resolve().parents[2] / "models"


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


Cli = Callable[..., Ended]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Run a command; an exit code other than the expected one shows what was said."""
    monkeypatch.setenv("COLUMNS", "160")  # no names broken over lines

    def call(*arguments: object, code: int = 0) -> Ended:
        capsys.readouterr()
        got = run([str(a) for a in arguments])
        shown = capsys.readouterr()
        assert got == code, shown.err + shown.out
        assert "Traceback" not in shown.err
        return Ended(got, shown.out, shown.err)

    return call


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return Path(shutil.copy(MODELS / "digits_resnet.onnx", tmp_path / "net.onnx"))


@pytest.fixture
def data() -> Path:
    return MODELS / "digits_calibration.npz"


@contextmanager
def untouched(folder: Path) -> Iterator[None]:
    """Every file of a folder is the same afterwards, and there is no other."""
    before = contents(folder)
    yield
    assert contents(folder) == before


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
