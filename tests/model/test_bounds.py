"""How much memory there is, and how much of it a run may take."""

from __future__ import annotations

from pathlib import Path

import pytest

from onnxslim_snacs.model import bounds

GIB = 1 << 30


@pytest.mark.parametrize(
    ("whole", "free", "taken"),
    [
        (64, 32, 24),  # three quarters
        (64, 1, 2),  # beside others
        (8, 0, 2),
        (2, 2, 1.5),
        (2, 0, 1),  # half of a small machine
    ],
)
def test_what_a_run_may_take(
    whole: int, free: int, taken: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounds, "whole_memory", lambda: whole * GIB)
    monkeypatch.setattr(bounds, "available_memory", lambda: free * GIB)
    assert bounds.default_memory() == int(taken * GIB)


def test_files_that_a_container_keeps_in_memory_are_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in (
        ("memory.max", "1000000\n"),
        ("memory.current", "900000\n"),
        ("memory.stat", "anon 100000\ninactive_file 300000\nactive_file 500000\n"),
    ):
        (tmp_path / name).write_text(text)
    group = str(tmp_path / "memory.max"), str(tmp_path / "memory.current")
    monkeypatch.setattr(bounds, "_GROUPS", (group,))
    assert bounds.whole_memory() == 1_000_000
    assert bounds.available_memory() == 400_000
    (tmp_path / "memory.max").write_text("max\n")
    assert bounds.whole_memory() > 1_000_000
