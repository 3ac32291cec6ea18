from __future__ import annotations

import numpy as np
import pytest

from onnxslim_snacs.ir.keep import keep_map
from onnxslim_snacs.ops.node import op_key
from onnxslim_snacs.passes.prune import prune
from tests.harness import assert_exact, model_from_text, read

SHUFFLE = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[N,3,2,2] x, float[12,3,1,1] w_a, float[2,12,1,1] w_b) => (float[N,2,2,2] y)
    <int64[5] parts = {0, 3, 4, 2, 2}, int64[4] image = {0, -1, 2, 2}> {
  a = Conv(x, w_a)
  p = Reshape(a, parts)
  t = Transpose<perm=[0,2,1,3,4]>(p)
  s = Reshape(t, image)
  y = Conv(s, w_b)
}
"""


@pytest.mark.parametrize(
    ("kept", "middle"),
    [
        ([0, 2, 8, 10], ["Reshape", "Transpose", "Reshape"]),
        ([0, 1, 2, 3], ["Reshape", "Transpose", "Reshape"]),
        ([0, 2, 8, 9], ["Gather"]),
        ([7], ["Reshape", "Transpose", "Reshape"]),
    ],
)
def test_shuffle_stays_a_shuffle_as_long_as_it_is_rectangular(
    kept: list[int], middle: list[str]
) -> None:
    analysis = read(model_from_text(SHUFFLE))
    mask = np.isin(np.arange(12), kept)
    keep = keep_map(analysis.ir, {analysis.ir.groups[0].id: mask})
    assert_exact(analysis, keep)
    ops = [op_key(node) for node in prune(analysis, keep).graph.node]
    assert ops == ["Conv", *middle, "Conv"]


def test_the_chain_is_one_tie_by_a_permutation() -> None:
    analysis = read(model_from_text(SHUFFLE))
    (chain,) = analysis.chains
    (leaf,) = chain.leaves
    assert (chain.root, leaf.tensor, leaf.dim) == ("a", "s", 1)
    assert leaf.index.tolist() == [0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11]
