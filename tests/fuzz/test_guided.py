"""The target for atheris can be used without it, and sees a fault of ours."""

from __future__ import annotations

from pathlib import Path

import pytest

from onnxslim_snacs.commands import inspect as module
from tests.fuzz.guided import fill, target, unrunnable


def test_refusals_are_none_and_faults_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path / "corpus")
    files = sorted((tmp_path / "corpus").iterdir())
    assert len(files) > 200
    whole = files[0].read_bytes()
    assert b"Frob" in unrunnable(whole)
    assert unrunnable(b"\xff") == b"\xff"
    for content in (whole, whole[:-9], b"", b"\xff" * 9):
        target(content)

    def broken(*_: object, **__: object) -> None:
        raise IndexError

    monkeypatch.setattr(module, "analyse", broken)
    with pytest.raises(IndexError):
        target(whole)
