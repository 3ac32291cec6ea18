"""A detector is cut as far as it still finds the original's boxes: a judge of the user's own."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from onnxslim_snacs import CompressConfig, DataConfig, compress
from tests.shared.yolox import mosaics, recall


@pytest.mark.shared
@pytest.mark.slow
def test_recall_of_the_boxes_of_the_original_steers_the_cut(shared: Path) -> None:
    original = onnx.load(shared / "models" / "det_yolox_nano.onnx")
    images = mosaics(64)
    judge = recall(original, images[40:])  # mosaics that neither scores nor recovery have seen
    left = []
    for most in (0.04, 0.2):
        config = CompressConfig(
            data=DataConfig(images[:40]), criterion="l1", max_drop=most, metric=judge
        )
        done = compress(original, config)
        drift = done.report.drift
        assert drift is not None
        assert drift.metric_before == 1.0
        assert drift.metric_after == judge(done.model.SerializeToString())
        assert drift.metric_after >= 1.0 - most
        assert done.report.proof is not None
        assert done.report.proof.passed
        left.append(done.report.after.macs / done.report.before.macs)
        print(f"max_drop {most}: recall {drift.metric_after:.3f}, macs {left[-1]:.3f}")
    assert left[1] < left[0] < 1.0
