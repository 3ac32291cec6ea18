"""Shapes that a model chooses while it runs are not to be cut by what one run has chosen."""

from __future__ import annotations

import pytest

from onnxslim_snacs.model.graph import ModelGraph
from onnxslim_snacs.ops.analyse import analyse
from tests.harness import model_from_text

#: Reads the channels by rows of 16 or of 8, as the condition says.
RESHAPED = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[1,3,6,6] x{fed}, float[8,3,3,3] w_a, float[128,8] w_b) => (float[1,8] y)
  <{stored}int64[3] by_16 = {{1, 16, 8}}, int64[3] by_8 = {{1, 8, 16}}> {{
  h = Conv(x, w_a)
  shape = If (c) <
    then_branch = a () => (int64[3] p) {{ p = Identity(by_16) }},
    else_branch = b () => (int64[3] q) {{ q = Identity(by_8) }}
  >
  f = Reshape(h, shape)
  flat = Flatten(f)
  y = MatMul(flat, w_b)
}}
"""

SPLIT = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[1,3,6,6] x, bool c, float[8,3,3,3] w_a) => (float[1,M,4,4] y)
  <int64[2] few = {2, 6}, int64[2] many = {6, 2}> {
  h = Conv(x, w_a)
  sizes = If (c) <
    then_branch = a () => (int64[2] p) { p = Identity(few) },
    else_branch = b () => (int64[2] q) { q = Identity(many) }
  >
  y, z = Split <axis = 1> (h, sizes)
}
"""


@pytest.mark.parametrize(
    ("fed", "stored", "units"),
    [(", bool c", "", []), ("", "bool c = {1}, ", [8]), ("", "bool c = {0}, ", [8])],
    ids=["fed", "then", "else"],
)
def test_reshape(fed: str, stored: str, units: list[int]) -> None:
    """A choice that is fed may fall otherwise in the next run; one that is stored may not."""
    analysis = analyse(ModelGraph(model_from_text(RESHAPED.format(fed=fed, stored=stored))))
    assert [group.units for group in analysis.ir.groups] == units
    said = {pin.reason for pin in analysis.ir.pins}
    assert any("chosen while the model runs" in reason for reason in said) == (units == [])


def test_split() -> None:
    analysis = analyse(ModelGraph(model_from_text(SPLIT)))
    assert not analysis.ir.groups
    assert any("sizes that are computed or chosen" in pin.reason for pin in analysis.ir.pins)
