"""A run of the bundled model, and its page."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from onnxslim_snacs import CompressConfig, DataConfig, Report, compress

MODELS = Path(__file__).resolve().parents[2] / "models"


@cache
def bundled() -> Report:
    """The bundled model at half of its products."""
    data = DataConfig(str(MODELS / "digits_calibration.npz"))
    config = CompressConfig(data=data, target={"macs": 0.5}, tries=2)
    return compress(MODELS / "digits_resnet.onnx", config).report
