"""Curves of re-fitted groups, where the units that go first are nearly silent."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import numpy_helper

from onnxslim_snacs.activations.open_data import open_source
from onnxslim_snacs.config import DataConfig
from onnxslim_snacs.decide.refitted import refitted_curves
from onnxslim_snacs.judge.error import answering, error_judge
from onnxslim_snacs.layers.consumers import readers_of
from onnxslim_snacs.model.session import SessionConfig
from onnxslim_snacs.scores.criterion import ScoreContext
from onnxslim_snacs.scores.refit import moments_for
from tests.harness import model_from_text, read

TEXT = """<ir_version: 8, opset_import: ["" : 17]>
net (float[N,8] x, float[8,8] w_a, float[8,2] w_b) => (float[N,2] y) {
  a = MatMul(x, w_a)
  r = Relu(a)
  y = MatMul(r, w_b)
}"""
#: Units 0 to 3 answer to two samples of 64, none of which the judge sees.
RARE, COUNT, JUDGED = 4, 64, 16


@dataclass
class Probed:
    """A judge that notes what it was asked."""

    inner: Any
    asked: list[list[int]] = field(default_factory=list)

    def error(self, kept: dict[str, Any]) -> float:
        (stays,) = kept.values()
        self.asked.append(np.flatnonzero(~stays).tolist())
        return float(self.inner.error(kept))


@pytest.mark.parametrize(("rare", "gone"), [(RARE, 6), (0, 2)])
def test_units_that_hardly_ever_answer_do_not_say_what_the_group_is_worth(
    rare: int, gone: int, tmp_path: Path
) -> None:
    model = model_from_text(TEXT, integers=False)
    rng = np.random.default_rng(0)
    x = np.abs(rng.standard_normal((COUNT, 8))).astype(np.float32)
    x[:, :rare] = 0.0
    x[-2:, :rare] = 1e-3
    for tensor in model.graph.initializer:
        made = np.eye(8) if tensor.name == "w_a" else rng.standard_normal((8, 2)) + 2.0
        tensor.CopyFrom(numpy_helper.from_array(made.astype(np.float32), tensor.name))
    np.savez(tmp_path / "x.npz", x=x)
    analysis = read(model)
    source = open_source(DataConfig(str(tmp_path / "x.npz")), analysis.graph)
    context = ScoreContext(analysis, source, SessionConfig(), 0)
    (group,) = [g for g in analysis.ir.groups if g.units == 8]
    few = replace(source, order=np.arange(JUDGED))
    judge = Probed(error_judge(analysis, context.session, tuple(few.batches())))
    scores = {group.id: np.arange(8.0)}
    consumers = moments_for(context)
    ask = partial(map, answering(judge))  # type: ignore[arg-type]
    curves = refitted_curves(consumers, context, ask, [group], scores)
    assert [len(units) for units in judge.asked] == [gone]
    error = dict(zip(curves[group.id].removed.tolist(), curves[group.id].error, strict=True))
    assert error[7] > 0.05
    ((reader, index),) = readers_of(group, consumers)
    raw = [reader.error_raw(index[:count].reshape(-1)) for count in (gone, 4)]
    repaired = float(reader.errors_refitted(index, [4])[0])
    gain = judge.inner.error({group.id: np.arange(8) >= gone}) / raw[0]
    assert error[4] == pytest.approx(gain * (0.3 * raw[1] + 0.7 * repaired), rel=1e-5)
