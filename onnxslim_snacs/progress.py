"""How long work tells how far it is."""

from __future__ import annotations

from collections.abc import Callable

#: Told (stage, done, total).
Progress = Callable[[str, int, int], None]


def silent(stage: str, done: int, total: int) -> None:
    """Progress that nobody looks at."""
