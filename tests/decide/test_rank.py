"""Second moments are gathered while a criterion runs the model, if it does."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import numpy_helper

from onnxslim_snacs.activations.open_data import open_source
from onnxslim_snacs.config import CompressConfig, DataConfig
from onnxslim_snacs.decide.rank import ordered
from onnxslim_snacs.model.session import Session, SessionConfig
from onnxslim_snacs.scores import find_criterion
from onnxslim_snacs.scores.criterion import Criterion, ScoreContext, ScoreResult
from onnxslim_snacs.scores.refit import moments_for
from tests.harness import model_from_text, read

ONES = np.ones(3)
#: Two readers of one tensor, a sum behind one of them, and the input among what is read.
NET = """<ir_version: 8, opset_import: ["" : 17]>
net (float[N,3,6,6] x, float[8,3,3,3] w_a, float[8,8,3,3] w_b, float[4,8,1,1] w_c)
  => (float[N,4,6,6] y) {
  a = Conv<pads=[1,1,1,1]>(x, w_a)
  r = Relu(a)
  b = Conv<pads=[1,1,1,1]>(r, w_b)
  s = Add(r, b)
  y = Conv(s, w_c)
}"""


@pytest.mark.parametrize(("criterion", "passes"), [("snacs", 1), ("l1", 1), ("refit", 2)])
def test_one_pass_serves_the_criterion_and_the_moments(
    criterion: str, passes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = np.random.default_rng(0).standard_normal((40, 3, 6, 6)).astype(np.float32)
    np.savez(tmp_path / "x.npz", x=x)
    analysis = read(model_from_text(NET, integers=False))
    source = open_source(DataConfig(str(tmp_path / "x.npz")), analysis.graph)
    context = ScoreContext(analysis, source, SessionConfig(), 0)
    alone = moments_for(context)
    seen: Counter[str] = Counter()
    run = Session.run

    def counted(session: Session, names: Any, feeds: Any) -> Any:
        seen[str(len(feeds["x"]))] += 1
        return run(session, names, feeds)

    monkeypatch.setattr(Session, "run", counted)
    config = CompressConfig(target={"macs": 0.5}, criterion=criterion)
    _, consumers = ordered(context, config, find_criterion(criterion), moments_for)
    assert consumers is not None
    assert seen == {"32": passes, "8": passes}
    assert consumers.keys() == alone.keys()
    for axis, several in alone.items():
        for wanted, found in zip(several, consumers[axis], strict=True):
            np.testing.assert_allclose(found.covariance, wanted.covariance, rtol=1e-4, atol=1e-4)
            np.testing.assert_allclose(found.mean, wanted.mean, rtol=1e-4, atol=1e-4)
            assert found.variance == pytest.approx(wanted.variance, rel=1e-4)


def test_units_that_score_the_same_go_in_the_order_of_their_norms(tmp_path: Path) -> None:
    model = model_from_text(
        """<ir_version: 8, opset_import: ["" : 17]>
        net (float[N,2] x, float[2,4] w_a, float[4,3] w_b, float[3,2] w_c) => (float[N,2] y) {
          a = MatMul(x, w_a)
          r = Relu(a)
          b = MatMul(r, w_b)
          s = Relu(b)
          y = MatMul(s, w_c)
        }""",
        integers=False,
    )
    told = np.array([[1, -4, 2, 0], [2, 1, -2, 1]], dtype=np.float32)  # norms 3, 5, 4, 1
    values = (told, np.ones((4, 3), dtype=np.float32))
    for tensor, value in zip(model.graph.initializer, values, strict=False):
        tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))
    np.savez(tmp_path / "x.npz", x=np.ones((16, 2), dtype=np.float32))
    analysis = read(model)
    source = open_source(DataConfig(str(tmp_path / "x.npz")), analysis.graph)
    context = ScoreContext(analysis, source, SessionConfig(), 0)
    flat = Criterion("flat", "", lambda c: ScoreResult({"g0000": np.full(4, 2.0), "g0001": ONES}))
    config = CompressConfig(ratio=0.5, recover="none")
    result, _ = ordered(context, config, flat, moments_for)
    assert np.argsort(result.scores["g0000"]).tolist() == [3, 0, 2, 1]
    np.testing.assert_allclose(result.scores["g0000"], 2.0, rtol=1e-6)  # still that level
    assert result.scores["g0001"].tolist() == [1.0, 1.0, 1.0]  # norms of equal filters are equal
    assert result.warnings == (
        "criterion flat scores all units of 1 groups (g0000) the same: they go in the order of "
        "their norms",
        "criterion flat scores all units of 1 groups (g0001) the same: which of them go says "
        "nothing about them",
    )
