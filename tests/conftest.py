"""What all tests share: where the real models lie, and what happens when they are not there."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

# Tests send SIGHUP to runs; under nohup, whoever is started would inherit that it is ignored.
signal.signal(signal.SIGHUP, signal.SIG_DFL)

SHARED = Path(__file__).resolve().parents[2] / "shared"
REQUIRE_SHARED = "SNACS_REQUIRE_SHARED"


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what needs the real models where there are none, or fail if they are required."""
    if SHARED.is_dir() or not item.get_closest_marker("shared"):
        return
    reason = f"no real models at {os.path.relpath(SHARED)} (they lie beside a checkout)"
    if os.environ.get(REQUIRE_SHARED):
        pytest.fail(f"{REQUIRE_SHARED} is set, but there are {reason}")
    pytest.skip(reason)


@pytest.fixture
def shared() -> Path:
    """The folder with the real models and data."""
    return SHARED
