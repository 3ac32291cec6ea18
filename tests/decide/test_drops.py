"""What the automatic decision holds against the tolerated drop."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import pytest
from onnx import ModelProto

from onnxslim_snacs.activations.open_data import open_source
from onnxslim_snacs.config import DataConfig
from onnxslim_snacs.decide.drops import droppers
from onnxslim_snacs.judge.drift import Drift
from onnxslim_snacs.judge.judge import Judge
from onnxslim_snacs.model.session import SessionConfig
from onnxslim_snacs.scores.criterion import ScoreContext
from tests.harness import model_from_text, read

TEXT = """<ir_version: 8, opset_import: ["" : 17]>
net (float[N,3] x, float[3,6] w_a, float[6,2] w_b) => (float[N,2] y) {
  a = MatMul(x, w_a)  r = Relu(a)  y = MatMul(r, w_b)
}"""


@dataclass(frozen=True)
class Told:
    moved: Drift
    blended: float
    metric: None = None

    def drift(self, model: ModelProto) -> Drift:
        return self.moved

    def with_blend(self, model: ModelProto, moved: Drift) -> Drift:
        return replace(moved, blend_risk=self.blended)


def drop(moved: Drift, blended: float = 0.0, most: float = 0.01) -> float:
    analysis = read(model_from_text(TEXT))
    source = open_source(DataConfig(), analysis.graph)
    context = ScoreContext(analysis, source, SessionConfig())
    found = droppers("none", context, cast(Judge, Told(moved, blended)), most)
    assert found.final is None  # nothing is recovered: the attempt is what will be written
    (group,) = analysis.ir.groups
    return found.attempt({group.id: np.arange(6) > 2})


def test_a_standard_error_is_left_as_a_margin() -> None:
    moved = Drift(1000, 0.3, top1_agreement=0.992, standard_error=0.003)
    assert drop(moved) == pytest.approx(0.008 + 0.003)


def test_the_margin_is_half_of_what_is_tolerated_at_most() -> None:
    moved = Drift(20, 0.3, top1_agreement=0.992, standard_error=0.05)
    assert drop(moved) == pytest.approx(0.008 + 0.005)
    assert drop(moved, most=0.2) == pytest.approx(0.008 + 0.05)


def test_mixed_samples_count() -> None:
    moved = Drift(1000, 0.3, top1_agreement=0.992, standard_error=0.003)
    assert drop(moved, blended=0.1) == pytest.approx(0.1 + 0.003)


def test_an_error_has_no_margin() -> None:
    assert drop(Drift(100, 0.3)) == pytest.approx(0.3)
