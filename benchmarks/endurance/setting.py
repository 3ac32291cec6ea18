"""Where and how the runs of this folder are made."""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MODEL, DATA = ROOT / "models/digits_resnet.onnx", ROOT / "models/digits_calibration.npz"
COMMAND = [sys.executable, "-m", "onnxslim_snacs"]
CUT = ["--criterion", "l1", "--ratio", "0.5", "--recover", "none"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
