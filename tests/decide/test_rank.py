"""Second moments are gathered while a criterion runs the model, if it does."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxslim_snacs.activations.sources import open_source
from onnxslim_snacs.config import CompressConfig, DataConfig
from onnxslim_snacs.decide.rank import ordered
from onnxslim_snacs.model.session import Session, SessionConfig
from onnxslim_snacs.scores import find_criterion
from onnxslim_snacs.scores.criterion import ScoreContext
from onnxslim_snacs.scores.refit import moments_for
from tests.harness import model_from_text, read

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
