"""What all tests share: where the real models lie, and what happens when they are not there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"
REQUIRE_SHARED = "SNACS_REQUIRE_SHARED"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests that need the real models where there are none, unless they are required."""
    if SHARED.is_dir() or os.environ.get(REQUIRE_SHARED):
        return
    reason = f"no real models at {os.path.relpath(SHARED)} (they lie beside a checkout)"
    for item in items:
        if item.get_closest_marker("shared"):
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture
def shared() -> Path:
    """The folder with the real models and data."""
    if not SHARED.is_dir():
        pytest.fail(f"{REQUIRE_SHARED} is set, but there is no folder {os.path.relpath(SHARED)}")
    return SHARED
