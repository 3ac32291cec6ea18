"""What an installation takes: the wheel alone, and with everything that `[cpu]` brings."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
#: Megabytes: 0.7 and 295 when this was written, pip itself not counted.
WHEEL, INSTALLED = 2, 400

#: Without the checkout, which pip would take for an installation.
CLEAN = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

pytestmark = pytest.mark.slow


def megabytes(path: Path) -> float:
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) / 2**20


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(folder), "."]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (found,) = folder.glob("*.whl")
    return found


def test_the_wheel_is_small(wheel: Path) -> None:
    assert wheel.stat().st_size < WHEEL * 2**20


def test_an_installation_is_small_and_does_the_demo(wheel: Path, tmp_path: Path) -> None:
    """In an environment of its own; needs a package index, and is skipped where there is none."""
    place = tmp_path / "venv"
    venv.create(place, with_pip=True)
    before = megabytes(place)
    pip = [str(place / "bin" / "pip"), "install", "-q", "--no-compile"]
    done = subprocess.run(
        [*pip, "-c", str(ROOT / "constraints.txt"), f"{wheel}[cpu]"],
        capture_output=True,
        text=True,
        check=False,
        env=CLEAN,
        cwd=tmp_path,
    )
    if done.returncode and "No matching distribution" in done.stderr:
        pytest.skip("no package index can be reached, so that nothing can be installed")
    assert done.returncode == 0, done.stderr
    assert megabytes(place) - before < INSTALLED
    models, out = ROOT / "models", tmp_path / "small.onnx"
    model, data = models / "digits_resnet.onnx", models / "digits_calibration.npz"
    call = [str(place / "bin" / "snacs-onnx"), "compress", str(model), "--data", str(data)]
    call += ["--target", "macs=0.5", "-o", str(out)]
    subprocess.run(call, check=True, capture_output=True, cwd=tmp_path, env=CLEAN)
    assert out.stat().st_size < model.stat().st_size
