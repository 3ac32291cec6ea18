"""What all tests share: where the real models lie, and what happens when they are not there."""

from __future__ import annotations

import functools
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import onnxslim_snacs.report
from onnxslim_snacs.plan import written
from onnxslim_snacs.plan.plan import Plan
from onnxslim_snacs.report import report, schemas

# Tests send SIGHUP to runs; under nohup, whoever is started would inherit that it is ignored.
signal.signal(signal.SIGHUP, signal.SIG_DFL)

# Workers side by side have a core each, and so have the runs that they start: by default a run
# takes all cores that it may use, and threads that wait for each other's cores take far longer.
_WORKER = os.environ.get("PYTEST_XDIST_WORKER", "").removeprefix("gw")
if _WORKER and hasattr(os, "sched_setaffinity"):
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[int(_WORKER) % len(cores)]})

SHARED = Path(__file__).resolve().parents[2] / "shared"
REQUIRE_SHARED = "SNACS_REQUIRE_SHARED"


def held(write: Callable[[Any], str], schema: str) -> Callable[[Any], str]:
    """The same function; every text that it writes in these tests is held against a schema."""
    validator = jsonschema.Draft202012Validator(schemas.SCHEMAS[schema]())

    @functools.wraps(write)
    def writes(value: Any) -> str:
        found = write(value)
        if isinstance(value, report.Report | Plan):
            validator.validate(json.loads(found))
        return found

    return writes


# before the commands are imported, which take the functions by name
WRITES: Any = written
WRITES.plan_to_json = held(written.plan_to_json, f"plan-{written.FORMAT}.schema.json")
for home in (report, onnxslim_snacs.report):
    REPORTS: Any = home
    REPORTS.to_json = held(REPORTS.to_json, f"report-{report.FORMAT}.schema.json")


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
