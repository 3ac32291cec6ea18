"""What a group weighs, against numbers worked out by hand."""

from __future__ import annotations

import numpy as np

from onnxslim_snacs.ir.keep import KeepMap, keep_map
from onnxslim_snacs.plan.cost import cost_model
from onnxslim_snacs.report.by_group import group_reports
from tests.harness import model_from_text, read

TEXT = """<ir_version: 8, opset_import: ["" : 17]>
net (float[1,3,8,8] x, float[6,3,3,3] w_a, float[6] w_c, float[4,6,1,1] w_b) => (float[1,4,8,8] y) {
  a = Conv<pads = [1,1,1,1]>(x, w_a, w_c)
  r = Relu(a)
  y = Conv(r, w_b)
}"""


def test_params_and_macs_of_a_group() -> None:
    """Without five of its six units: a loses 5 x (27 + 1) weights and 5 x 27 products at each of
    64 places, y loses 4 x 5 and 4 x 5 at each of them."""
    analysis = read(model_from_text(TEXT))
    (group,) = group_reports(analysis, cost_model(analysis), KeepMap({}))
    assert (group.units, group.kept) == (6, 6)
    assert group.params == 5 * 28 + 20 == 160
    assert group.macs == 64 * (5 * 27 + 20) == 9920
    assert (group.label, group.layer) == ("w_a[0]", analysis.nodes[0].name)
    assert set(group.axes) >= {"a[1]", "r[1]", "w_a[0]", "w_c[0]", "w_b[1]"}


def test_kept_units_are_counted() -> None:
    analysis = read(model_from_text(TEXT))
    (found,) = analysis.ir.groups
    stays = np.array([True, False, True, True, False, False])
    keep = keep_map(analysis.ir, {found.id: stays})
    (group,) = group_reports(analysis, cost_model(analysis), keep)
    assert (group.units, group.kept) == (6, 3)
