"""How many cases a run takes: few on every change, many before a release.

`SNACS_PROPERTY_COUNT` is `pr` (the default), `release`, or a number for every property.
"""

from __future__ import annotations

import os
from collections.abc import Iterator


def count(pr: int, release: int) -> int:
    """How many cases to run."""
    wanted = os.environ.get("SNACS_PROPERTY_COUNT", "pr")
    if wanted.isdigit():
        return int(wanted)
    return {"pr": pr, "release": release}[wanted]


def chunks(pr: int, release: int, size: int = 25) -> list[range]:
    """The seeds in pieces, one for each test, so that several processes share them."""
    total = count(pr, release)
    size = max(size, -(-total // 100))
    return [range(start, min(total, start + size)) for start in range(0, total, size)]


def piece_name(piece: range) -> str:
    return f"{piece.start}-{piece.stop - 1}"


class Failures:
    """Collects what failed in a piece, so that one seed does not hide the others."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def add(self, case: str, error: BaseException) -> None:
        text = " ".join(str(error).split())
        self.found.append(f"{case}: {type(error).__name__}: {text[:300]}")

    def __iter__(self) -> Iterator[str]:
        return iter(self.found)

    def report(self) -> str:
        return f"{len(self.found)} failures\n" + "\n".join(self.found[:20])
