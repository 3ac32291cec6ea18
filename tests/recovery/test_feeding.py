from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from onnxslim_snacs.config.spending import RowCount
from onnxslim_snacs.ir.keep import keep_map
from onnxslim_snacs.layers.walk import Walk
from onnxslim_snacs.model.graph import ModelGraph
from onnxslim_snacs.passes.prune import prune
from onnxslim_snacs.recovery import feeding
from onnxslim_snacs.recovery.effort import Effort
from onnxslim_snacs.recovery.jobs import Cut
from onnxslim_snacs.recovery.methods import least_squares_method, recover_least_squares
from onnxslim_snacs.recovery.recover import recover_together, tasks_of
from tests.harness import model_from_text, read
from tests.recovery.test_recover import source_of

#: Maps of 16 x 16, 8 x 8, 4 x 4: an image holds 256, 64 and 16 rows of a layer.
SHRINKING = """
<ir_version: 8, opset_import: ["" : 17]>
g (float[n, 3, 16, 16] x, float[8, 3, 3, 3] w_a, float[8, 8, 3, 3] w_b, float[8, 8, 3, 3] w_c,
   float[8, 8, 3, 3] w_d) => (float[n, 8, 4, 4] y) {
  a = Conv<pads = [1, 1, 1, 1]>(x, w_a)
  ra = Relu(a)
  b = Conv<pads = [1, 1, 1, 1]>(ra, w_b)
  rb = Relu(b)
  c = Conv<pads = [1, 1, 1, 1], strides = [2, 2]>(rb, w_c)
  rc = Relu(c)
  y = Conv<pads = [1, 1, 1, 1], strides = [2, 2]>(rc, w_d)
}
"""
#: 512 rows, for which there have to be 2,048 positions: 8, 32 and 128 samples.
EFFORT = Effort(RowCount(1, 512, 512), steps=0, ridges=(1e-3,))


def a_cut(tmp_path: Path, samples: int, effort: Effort = EFFORT) -> Cut:
    analysis = read(model_from_text(SHRINKING))
    kept = {g.id: np.arange(g.units) % 3 > 0 for g in analysis.ir.groups}
    keep = keep_map(analysis.ir, kept)
    source = source_of(tmp_path, analysis, samples)
    return Cut(analysis, keep, prune(analysis, keep), source, effort=effort)


def test_a_layer_needs_the_samples_that_hold_its_rows(tmp_path: Path) -> None:
    cut = a_cut(tmp_path, 200)
    tasks = tasks_of(cut.analysis, cut.keep, ModelGraph(cut.model), wide=True, sums=True, aims=None)
    # the layer behind the first cut, and the two behind it; least: 64
    assert [feeding.samples_for(task, cut) for task in tasks] == [64, 64, 128]


def test_samples_join_where_they_are_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    joined: list[tuple[int, int]] = []
    join = Walk.join

    def noted(walk: Walk, batches: list[dict[str, np.ndarray]]) -> None:
        before = len(walk.done)
        joined.append((before, sum(len(one["x"]) for one in batches)))
        join(walk, batches)

    monkeypatch.setattr(Walk, "join", noted)
    cut = a_cut(tmp_path, 200)
    recover_together([cut], least_squares_method(EFFORT))
    (first, few), (also, same), (on, rest), (and_on, again) = joined
    assert first == also == 0
    assert few == same == 64
    assert on > 0
    assert and_on > 0
    assert rest == again == 136  # 128 would leave less than the half


def test_what_joins_late_is_fitted_as_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With rows enough in each sample, all at once and one after the other come to the same."""
    errors = []
    for least in (64, 10**6):
        monkeypatch.setattr(feeding, "LEAST", least)
        cut = a_cut(tmp_path, 200, Effort(RowCount(1, 1 << 14, 1 << 14), 0, (1e-3,)))
        errors.append([layer.after for layer in recover_least_squares(cut).layers])
    assert errors[0] == pytest.approx(errors[1], rel=0.05)
