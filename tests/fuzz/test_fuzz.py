"""Some hundred broken files; thousands with the counts of a release (see `tests.fuzz.run`)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.conftest import SHARED

ROOT = Path(__file__).resolve().parents[2]
RELEASE = os.environ.get("SNACS_PROPERTY_COUNT") == "release"
#: Kind -> (first seed, count) of each process.
QUICK = {"models": ((0, 100), (100_000, 100)), "data": ((0, 50),), "plans": ((0, 50),)}
FULL = {
    "models": tuple((1_000_000 * k, 5000) for k in range(1, 5)),
    "data": ((1_000_000, 2000),),
    "plans": ((1_000_000, 2000),),
}

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="each file is run in a fork")


@pytest.mark.parametrize("kind", ["models", "data", "plans"])
def test_broken_files(kind: str) -> None:
    jobs = (FULL if RELEASE else QUICK)[kind]
    more = sorted((SHARED / "models").glob("*.onnx")) if RELEASE and SHARED.is_dir() else []
    small = [str(path) for path in more if path.stat().st_size < 1 << 22]

    def broken(job: tuple[int, int]) -> list[str]:
        seed, count = job
        line = [sys.executable, "-m", "tests.fuzz.run", kind]
        line += ["--seed", str(seed), "--count", str(count)]
        line += ["--models", *small] if kind == "models" and small else []
        done = subprocess.run(
            line,
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert '{"ends": ' in done.stdout, done.stderr
        return [text for text in done.stdout.splitlines() if '"seed": ' in text]

    with ThreadPoolExecutor(2) as pool:
        found = [text for lines in pool.map(broken, jobs) for text in lines]
    assert [json.loads(text) for text in found] == []
