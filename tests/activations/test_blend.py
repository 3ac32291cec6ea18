"""Samples into which others are mixed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxslim_snacs.activations import blend
from onnxslim_snacs.activations.blend import blended
from onnxslim_snacs.activations.open_data import open_source
from onnxslim_snacs.activations.sources import CalibrationSource
from onnxslim_snacs.config import DataConfig
from onnxslim_snacs.judge.drift import answers, drift
from onnxslim_snacs.judge.judge import open_judge
from onnxslim_snacs.model.graph import ModelGraph
from onnxslim_snacs.model.session import SessionConfig
from onnxslim_snacs.ops.analyse import analyse
from tests.harness import model_from_text

IMAGE = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[N, 3, 4, 4] x) => (float[N, 3] y) { p = GlobalAveragePool(x)  y = Flatten(p) }
"""
FIXED = IMAGE.replace("float[N, 3, 4, 4]", "float[2, 3, 4, 4]").replace("[N, 3]", "[2, 3]")
TOKENS = """
<ir_version: 8, opset_import: ["" : 17]>
net (int64[N, 4] x) => (float[N, 4] y) { y = Cast<to = 1>(x) }
"""
MASKED = """
<ir_version: 8, opset_import: ["" : 17]>
net (float16[N, 4] x, int64[N, 4] mask) => (float16[N, 4] y)
{ m = Cast<to = 10>(mask)  y = Mul(x, m) }
"""
RNG = np.random.default_rng(0)
IMAGES = RNG.standard_normal((41, 3, 4, 4)).astype(np.float32)


def opened(folder: Path, text: str, **arrays: Any) -> CalibrationSource:
    np.savez(folder / "d.npz", **arrays)
    return open_source(DataConfig(str(folder / "d.npz")), ModelGraph(model_from_text(text)))


def rows(source: CalibrationSource, name: str) -> np.ndarray[Any, Any]:
    return np.concatenate([batch.inputs[name][: batch.size] for batch in source.batches()])


@pytest.mark.parametrize("text", [IMAGE, FIXED])
def test_every_sample_gets_a_share_of_another_one(tmp_path: Path, text: str) -> None:
    source = opened(tmp_path, text, x=IMAGES, labels=np.zeros(41, np.int64))
    mixed = blended(source)
    assert mixed is not None
    assert not mixed.has_labels
    before, after = rows(source, "x").astype(float), rows(mixed, "x")
    others = (after - 0.8 * before) / 0.2
    distance = np.linalg.norm((others[:, None] - before[None]).reshape(41, 41, -1), axis=2)
    partners = distance.argmin(axis=1)
    assert distance.min(axis=1).max() < 1e-4
    assert sorted(partners) == list(range(41))
    assert not (partners == np.arange(41)).any()


def test_the_same_seed_mixes_the_same_samples(tmp_path: Path) -> None:
    source = opened(tmp_path, IMAGE, x=IMAGES)
    first, again, other = (blended(source, seed) for seed in (0, 0, 1))
    assert first is not None
    assert again is not None
    assert other is not None
    assert np.array_equal(rows(first, "x"), rows(again, "x"))
    assert not np.array_equal(rows(first, "x"), rows(other, "x"))


def test_whole_numbers_stay_and_halves_stay_halves(tmp_path: Path) -> None:
    mask = RNG.integers(0, 2, (16, 4))
    source = opened(tmp_path, MASKED, x=RNG.standard_normal((16, 4)).astype(np.float16), mask=mask)
    mixed = blended(source)
    assert mixed is not None
    assert rows(mixed, "x").dtype == np.float16
    assert np.array_equal(rows(mixed, "mask"), rows(source, "mask"))


def test_images_of_bytes_are_mixed_and_tokens_are_not(tmp_path: Path) -> None:
    text = """
    <ir_version: 8, opset_import: ["" : 17]>
    net (uint8[N, 3, 2, 2] x, uint8[N, 5] t) => (float[N, 3, 2, 2] y, float[N, 5] z)
    { y = Cast<to = 1>(x)  z = Cast<to = 1>(t) }
    """
    x, t = RNG.integers(0, 256, (16, 12), np.uint8), RNG.integers(0, 256, (16, 5), np.uint8)
    source = opened(tmp_path, text, x=x.reshape(16, 3, 2, 2), t=t)
    mixed = blended(source)
    assert mixed is not None
    moved = rows(mixed, "x").astype(int) - rows(source, "x")
    assert 0 < abs(moved).max() <= 0.2 * 255 + 0.5
    assert np.array_equal(rows(mixed, "t"), rows(source, "t"))


def test_memory_bounds_the_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blend, "MEMORY", 10 * 4 * 48)
    mixed = blended(opened(tmp_path, IMAGE, x=IMAGES))
    assert mixed is not None
    assert mixed.samples == 10


def test_where_mixing_says_nothing(tmp_path: Path) -> None:
    assert blended(opened(tmp_path, TOKENS, x=RNG.integers(0, 9, (16, 4)))) is None
    assert blended(opened(tmp_path, IMAGE, x=IMAGES[:7])) is None
    random = open_source(DataConfig(), ModelGraph(model_from_text(IMAGE)))
    assert random.is_random
    assert blended(random) is None


def test_the_judge_counts_answers_that_change_on_mixed_samples_only(tmp_path: Path) -> None:
    """The other model differs where no class leads by much, which no sample at hand does."""
    leads = np.eye(3, dtype=np.float32)[np.arange(60) % 3] * 10
    images = np.broadcast_to(leads[:, :, None, None], (60, 3, 4, 4))
    source = opened(tmp_path, IMAGE, x=images)
    other = model_from_text(
        IMAGE.replace("y = Flatten(p)", "m = ReduceMax<axes = [1]>(p)  f = Flatten(p)  "
        "t = Constant<value_float = 9.5>()  g = Less(m, t)  h = Neg(f)  k = Flatten(g)  "
        "y = Where(k, h, f)")
    )  # fmt: skip
    graph = ModelGraph(model_from_text(IMAGE))
    judge = open_judge(analyse(graph), source, SessionConfig())
    moved = judge.drift(other)
    assert moved.drop == 0
    seen = judge.with_blend(other, moved)
    assert seen.blend_risk == seen.drop
    assert seen.drop > 0.5
    assert judge.with_blend(graph.proto, moved).drop == 0


def test_without_classes_nothing_is_mixed(tmp_path: Path) -> None:
    text = IMAGE.replace("float[N, 3] y", "float[N, 3, 2, 2] y").replace(
        "p = GlobalAveragePool(x)  y = Flatten(p)",
        "y = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(x)",
    )
    source = opened(tmp_path, text, x=IMAGES)
    graph = ModelGraph(model_from_text(text))
    judge = open_judge(analyse(graph), source, SessionConfig())
    moved = judge.drift(graph.proto)
    assert judge.with_blend(graph.proto, moved) is moved
    told = drift(*(answers(graph.proto, source.batches(), SessionConfig()) for _ in range(2)))
    assert told.blend_risk is None
