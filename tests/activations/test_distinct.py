"""Copies of a sample are no samples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from onnxslim_snacs.activations.distinct import count_distinct, require_different
from onnxslim_snacs.activations.open_data import open_source
from onnxslim_snacs.activations.sources import CalibrationSource
from onnxslim_snacs.config import DataConfig
from onnxslim_snacs.errors import InputRefused
from onnxslim_snacs.judge.drift import Answers, answers_alike
from onnxslim_snacs.model.graph import ModelGraph
from tests.harness import model_from_text

NET = """<ir_version: 8, opset_import: ["" : 17]>
net (float[N,4] a, float[N,2] b) => (float[N,4] y) { y = Relu(a) }"""
rng = np.random.default_rng(0)


def source(tmp_path: Path, a: NDArray[Any], b: NDArray[Any]) -> CalibrationSource:
    np.savez(tmp_path / "s.npz", a=a.astype(np.float32), b=b.astype(np.float32))
    return open_source(DataConfig(str(tmp_path / "s.npz")), ModelGraph(model_from_text(NET)))


def test_samples_are_different_if_any_input_is(tmp_path: Path) -> None:
    a, b = rng.normal(size=(40, 4)), rng.normal(size=(40, 2))
    assert count_distinct(source(tmp_path, a, b)) == (40, 40)
    assert count_distinct(source(tmp_path, np.zeros_like(a), b)) == (40, 40)
    assert count_distinct(source(tmp_path, a, b), most=10) == (10, 10)
    copies = np.repeat(np.arange(5), 8)
    assert count_distinct(source(tmp_path, a[copies], b[copies])) == (40, 5)


def test_copies_of_one_sample_are_refused(tmp_path: Path) -> None:
    for value in (0.0, 1.5):
        with pytest.raises(InputRefused, match="all of 200 samples are the same"):
            require_different(source(tmp_path, np.full((200, 4), value), np.full((200, 2), value)))


@pytest.mark.parametrize(("different", "samples", "told"), [(5, 40, True), (30, 40, False)])
def test_few_different_samples_are_told_of(
    tmp_path: Path, different: int, samples: int, *, told: bool
) -> None:
    a, b = rng.normal(size=(different, 4)), rng.normal(size=(different, 2))
    index = np.arange(samples) % different
    said = require_different(source(tmp_path, a[index], b[index]))
    assert (said is not None) == told
    assert not told or (said is not None and f"only {different} of {samples}" in said)


def test_random_inputs_are_not_counted() -> None:
    graph = ModelGraph(model_from_text(NET))
    assert require_different(open_source(DataConfig(), graph)) is None


def test_answers_that_are_all_alike() -> None:
    same = np.array([[0.0, 1.0], [0.2, 0.9], [0.3, 0.4]])
    assert answers_alike(Answers(((same,),), (3,)))  # the same class
    assert not answers_alike(Answers(((same[:, ::-1], same),), (3, 3)))
    map_ = np.ones((3, 4, 4, 1))
    assert answers_alike(Answers(((map_, map_),), (3, 3)))
    assert not answers_alike(Answers(((map_, 2 * map_),), (3, 3)))
    assert not answers_alike(Answers(((np.array(1.0),),), (3,)))  # one number for all samples
    assert not answers_alike(Answers(((same[:1],),), (1,)))
