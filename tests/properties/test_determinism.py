"""P12: the same command gives the same bytes, whatever surrounds it."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.properties.counts import count
from tests.properties.generator import sample

ROOT = Path(__file__).resolve().parents[2]
BUNDLED = ROOT / "models" / "digits_resnet.onnx"
CALIBRATION = ROOT / "models" / "digits_calibration.npz"

#: Models: the bundled one, and generated ones.
MODELS = count(5, 29)
#: Runs, each in surroundings of its own.
RUNS = count(5, 20)

#: Compresses every model that is named, by everything that could depend on chance or on order.
SCRIPT = """
import sys
from pathlib import Path
from onnxslim_snacs import CompressConfig, DataConfig, compress
folder, data = Path(sys.argv[1]), sys.argv[2]
for path in sorted(folder.glob("*.onnx")):
    bundled = path.stem == "bundled"
    config = CompressConfig(data=DataConfig(data), target={"macs": 0.5})
    if not bundled:
        config = CompressConfig(data=DataConfig(samples=64), ratio=0.5, recover="none")
    compress(path, config, out=path.with_suffix(".slim"), overwrite=True)
"""


def surroundings(run: int) -> dict[str, str]:
    """The environment of a run."""
    return {
        "PYTHONHASHSEED": str(run % 5),
        "OMP_NUM_THREADS": ("1", "2", "4")[run % 3],
        "LANG": ("C", "tr_TR.UTF-8", "de_DE.UTF-8")[run % 3],
        "LC_ALL": ("C", "tr_TR.UTF-8", "C.UTF-8")[run % 3],
        "TZ": ("UTC", "Asia/Tokyo", "America/St_Johns")[run // 2 % 3],
    }


def digests(run: int, folder: Path) -> dict[str, str]:
    """SHA-256 of what a run makes of every model, in a folder of its own."""
    home = folder / f"place {run}"
    home.mkdir()
    (home / "bundled.onnx").write_bytes(BUNDLED.read_bytes())
    for seed in range(MODELS - 1):
        name = f"generated_{seed:02}.onnx"
        (home / name).write_bytes(sample(seed, seed % 2 == 0).model.SerializeToString())
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(home), str(CALIBRATION)],
        cwd=(home, folder, ROOT)[run % 3],
        env={**os.environ, **surroundings(run)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in home.glob("*.slim")
    }


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return digests(0, tmp_path_factory.mktemp("first"))


@pytest.mark.parametrize("run", range(1, RUNS))
def test_the_same_bytes_in_other_surroundings(
    run: int, first: dict[str, str], tmp_path: Path
) -> None:
    again = digests(run, tmp_path)
    assert len(first) == MODELS
    assert first == again, json.dumps(surroundings(run))
