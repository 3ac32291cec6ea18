"""Samples to score by and samples to judge by have none in common."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from onnxslim_snacs.activations.open_data import open_source
from onnxslim_snacs.activations.samples import HELD_OUT, SHARE, SHARE_AUTO, split
from onnxslim_snacs.activations.sources import CalibrationSource
from onnxslim_snacs.config import DataConfig
from onnxslim_snacs.model.graph import ModelGraph
from tests.harness import model_from_text

TEXT = """<ir_version: 8, opset_import: ["" : 17]>
net (float[N,1] x, float[1,3] w_a) => (float[N,3] y) { y = MatMul(x, w_a) }"""


def numbers(source: CalibrationSource) -> list[int]:
    """Which samples these are: each holds its own number."""
    batches = source.batches()
    return sorted(int(v) for b in batches for v in b.inputs["x"][: b.size].ravel())


@pytest.mark.parametrize(
    ("rows", "share", "aside"),
    [
        *((40, SHARE, 10), (40, SHARE_AUTO, 20), (2, SHARE, 1), (4000, SHARE_AUTO, HELD_OUT)),
        *((9, SHARE, 1), (9, SHARE_AUTO, 1), (10, SHARE_AUTO, 2), (16, SHARE_AUTO, 8)),
    ],
)
def test_no_sample_is_scored_and_judged(
    tmp_path: Path, rows: int, share: float, aside: int
) -> None:
    np.savez(tmp_path / "x.npz", x=np.arange(rows, dtype=np.float32)[:, None])
    source = open_source(DataConfig(str(tmp_path / "x.npz")), ModelGraph(model_from_text(TEXT)))
    samples = split(source, share)
    scoring, judging = numbers(samples.scoring), numbers(samples.judging)
    assert len(judging) == aside
    assert not set(scoring) & set(judging)
    assert sorted(scoring + judging) == list(range(rows))


def test_a_single_sample_has_to_do_for_both(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=np.ones((1, 1), np.float32))
    source = open_source(DataConfig(str(tmp_path / "x.npz")), ModelGraph(model_from_text(TEXT)))
    assert [numbers(part) for part in (split(source).scoring, split(source).judging)] == [[1], [1]]
