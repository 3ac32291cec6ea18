"""What a cut of integer products leaves is the same in the float form."""

from __future__ import annotations

import numpy as np

from onnxslim_snacs.ir.keep import keep_map
from onnxslim_snacs.ir.types import Axis
from onnxslim_snacs.layers.twins import twin_keep, twin_of
from tests.harness import model_from_text, read

#: Three heads of four, all of whose products are of integers.
ATTENTION = """<ir_version: 8, opset_import: ["" : 17]>
net (float[2,5,6] x, int8[6,12] w_q, int8[6,12] w_k, int8[6,12] w_v, int8[12,2] w_o)
    => (float[2,5,2] y)
    <float s = {0.0625}, uint8 z = {128}, int8 p = {0},
     int64[4] apart = {2, 5, 3, 4}, int64[3] flat = {2, 5, 12}> {
  xq = QuantizeLinear(x, s, z)
  q0 = QLinearMatMul(xq, s, z, w_q, s, p, s, z)
  k0 = QLinearMatMul(xq, s, z, w_k, s, p, s, z)
  v0 = QLinearMatMul(xq, s, z, w_v, s, p, s, z)
  q1 = Reshape(q0, apart)
  k1 = Reshape(k0, apart)
  v1 = Reshape(v0, apart)
  q = Transpose<perm=[0,2,1,3]>(q1)
  k = Transpose<perm=[0,2,3,1]>(k1)
  v = Transpose<perm=[0,2,1,3]>(v1)
  a = QLinearMatMul(q, s, z, k, s, z, s, z)
  ar = DequantizeLinear(a, s, z)
  soft = Softmax(ar)
  pq = QuantizeLinear(soft, s, z)
  o = QLinearMatMul(pq, s, z, v, s, z, s, z)
  o1 = Transpose<perm=[0,2,1,3]>(o)
  o2 = Reshape(o1, flat)
  yq = QLinearMatMul(o2, s, z, w_o, s, p, s, z)
  y = DequantizeLinear(yq, s, z)
}"""


def test_heads_and_what_is_within_them_go_together() -> None:
    analysis = read(model_from_text(ATTENTION))
    assert sorted(g.units for g in analysis.ir.groups) == [3, 4, 4]
    masks = {g.id: np.arange(g.units) != 1 for g in analysis.ir.groups}
    keep = keep_map(analysis.ir, masks)
    twin = twin_of(analysis)
    assert twin is not None
    there = twin_keep(analysis, twin, keep)
    assert there is not None
    for name in ("w_q", "w_k", "w_v"):
        kept = there.index(Axis(name, 1))
        assert kept is not None
        assert kept.tolist() == [0, 2, 3, 8, 10, 11]
