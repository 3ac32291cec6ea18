"""Where blocks end in both models, and how far apart the two are there."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from onnxslim_snacs.model.graph import ModelGraph
from onnxslim_snacs.training.features import block_ends, feature_distance
from tests.cli.arriving.kit import RESIDUAL
from tests.harness import model_from_text


def test_blocks_end_in_sums_of_two_computed_values_that_both_models_write() -> None:
    text = RESIDUAL.replace("y = MatMul(l, w_7)", "m = MatMul(l, w_7)  y = Add(m, w_8)")
    text = text.replace("float[8,3] w_7", "float[8,3] w_7, float[3] w_8")
    whole = ModelGraph(model_from_text(text))
    assert block_ends(whole, whole) == ("d", "h", "l")
    less = text.replace("h = Add(d, g)", "h = Identity(g)")
    assert block_ends(ModelGraph(model_from_text(less)), whole) == ("d", "l")


def test_the_distance_by_hand() -> None:
    # variances of the teacher's numbers: (1 + 9 + 9 + 1) / 3, and (4 + 4) / 1; the third one has
    # another width
    teacher = {
        "a": np.array([[-1.0, 3.0], [-3.0, 1.0]], np.float32),
        "b": np.array([[2.0], [6.0]], np.float32),
        "c": np.ones((2, 3), np.float32),
    }
    student = {
        "a": torch.tensor([[-1.0, 3.0], [-3.0, 3.0]]),
        "b": torch.tensor([[2.0], [2.0]]),
        "c": torch.ones(2, 2),
    }
    wanted = ((4 / 4) / (20 / 3) + (16 / 2) / 8) / 2
    found = feature_distance(student, teacher, 2)
    assert found is not None
    assert float(found) == pytest.approx(wanted, rel=1e-6)
    # the second sample only fills the batch up; the variance of a single number is none
    only = {"a": teacher["a"]}
    found = feature_distance(student, only, 1)
    assert found is not None
    assert float(found) == 0.0
    assert feature_distance(student, {"c": teacher["c"]}, 2) is None
