"""Whole runs in numpy and in torch on the processor: the same order of units, the same kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import spearmanr

from onnxslim_snacs import CompressConfig, DataConfig, compress
from onnxslim_snacs.decide.rank import rank
from onnxslim_snacs.scores.criterion import ScoreResult
from tests.harness import cifar

pytestmark = pytest.mark.shared
RESNET, FACE = "cifar10_akamaster_resnet20_ts17_bn", "face_ultralight_RFB320"
VIT, WORDS = "cifar10_vit_pgd_2_3_16", "mlctiny_kws_ref_model_float32_tflite"
CRITERIA = ("snacs-refit", "refit", "snacs")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pixels = cifar(48)[0]
    path = tmp_path_factory.mktemp("images") / "images.npy"
    np.save(path, (pixels / np.float32(127.5) - 1).astype(np.float32))
    return path


@pytest.mark.parametrize(
    ("name", "criterion"),
    [
        pytest.param(FACE, CRITERIA[0], marks=pytest.mark.slow),
        (VIT, "snacs:hash"),
        *((n, c) for n in (RESNET, VIT, WORDS) for c in CRITERIA),
    ],
)
def test_torch_keeps_what_numpy_keeps(
    name: str, criterion: str, shared: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scores rank alike within every group (Spearman 0.999 and more); the same units stay."""
    pytest.importorskip("torch")
    seen: list[ScoreResult] = []

    def noted(*given: Any) -> ScoreResult:
        seen.append(rank(*given))
        return seen[-1]

    monkeypatch.setattr("onnxslim_snacs.commands.compress.rank", noted)
    data = DataConfig(str(images)) if name in (RESNET, VIT) else DataConfig(samples=12)
    runs = [
        compress(
            shared / "models" / f"{name}.onnx",
            CompressConfig(
                data,
                ratio=0.5,
                criterion=criterion.removesuffix(":hash"),
                options={"conditioning": "hash"} if ":" in criterion else {},
                effort="fast",
                recover="least-squares",
                threads=1,
                arithmetic=arithmetic,
            ),
        )
        for arithmetic in ("numpy", "torch")
    ]
    assert [run.report.arithmetic for run in runs] == ["numpy", "torch on cpu"]
    a, b = seen
    assert a.scores.keys() == b.scores.keys()
    alike = {g: spearmanr(a.scores[g], b.scores[g])[0] for g in a.scores}
    assert min(alike.values()) >= 0.999, alike
    assert [g.kept for g in runs[0].plan.groups] == [g.kept for g in runs[1].plan.groups]
    errors = [run.report.drift.rel_error for run in runs if run.report.drift is not None]
    assert errors[1] == pytest.approx(errors[0], rel=1e-3)
    assert errors[1] != errors[0]  # it was another arithmetic
