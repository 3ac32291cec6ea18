from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from onnxslim_snacs.activations.open_data import open_source
from onnxslim_snacs.config import DataConfig
from onnxslim_snacs.ir.keep import keep_map
from onnxslim_snacs.layers.layers import original_layers
from onnxslim_snacs.layers.walk import start_walk
from onnxslim_snacs.model.session import SessionConfig
from onnxslim_snacs.passes.prune import prune
from onnxslim_snacs.recovery.bilinear import find_partners, mixing
from onnxslim_snacs.recovery.jobs import Cut
from onnxslim_snacs.recovery.methods import recover_least_squares
from tests.harness import model_from_text, read

TEXT = """
<ir_version: 8, opset_import: ["" : 17]>
g (float[n, 7, 12] x, float[12, 12] w_q, float[12] w_b, float[12, 12] w_k, float[12, 12] w_v,
   float[12, 12] w_o) => (float[n, 7, 12] y) {
  split = Constant<value_ints = [0, 7, 2, 6]>()
  join = Constant<value_ints = [0, 7, 12]>()
  scale = Constant<value_float = 0.4>()
  q0 = MatMul(x, w_q)
  q1 = Add(q0, w_b)
  k1 = MatMul(x, w_k)
  v1 = MatMul(x, w_v)
  q2 = Reshape(q1, split)
  k2 = Reshape(k1, split)
  v2 = Reshape(v1, split)
  q = Transpose<perm = [0, 2, 1, 3]>(q2)
  k = Transpose<perm = [0, 2, 3, 1]>(k2)
  v = Transpose<perm = [0, 2, 1, 3]>(v2)
  qs = Mul(q, scale)
  s = MatMul(qs, k)
  p = Softmax<axis = -1>(s)
  c = MatMul(p, v)
  t = Transpose<perm = [0, 2, 1, 3]>(c)
  r = Reshape(t, join)
  y = MatMul(r, w_o)
}
"""


def make_cut(tmp_path: Path, *, dims: tuple[int, ...], heads: bool = False) -> Cut:
    """Queries and keys lose some of 6 dimensions; a head may go, too."""
    model = model_from_text(TEXT, 0, integers=False)
    analysis = read(model)
    kept = {}
    for group in analysis.ir.groups:
        tensors = {m.axis.tensor for m in group.members}
        if group.units == 2 and heads:
            kept[group.id] = np.array([False, True])
        if group.units == 6 and "w_q" in tensors:
            kept[group.id] = ~np.isin(np.arange(6), dims)
    keep = keep_map(analysis.ir, kept)
    rng = np.random.default_rng(0)
    mix = rng.standard_normal((12, 12))
    np.save(tmp_path / "x.npy", (0.3 * rng.standard_normal((60, 7, 12)) @ mix).astype(np.float32))
    source = open_source(DataConfig(path=str(tmp_path / "x.npy")), analysis.graph)
    return Cut(analysis, keep, prune(analysis, keep), source)


@pytest.mark.parametrize("heads", [False, True])
def test_the_mixture_is_the_best_for_the_scores(tmp_path: Path, heads: bool) -> None:
    cut = make_cut(tmp_path, dims=(1, 4), heads=heads)
    layers = [layer for _, layer in original_layers(cut.analysis)]
    ((layer, partner),) = find_partners(cut.analysis, cut.keep, cut.analysis.graph, layers)
    assert (layer.out, partner.tensor) == ("k1", "q1")
    walks = [
        start_walk(model, None, SessionConfig(), ["q1"])
        for model in (cut.analysis.graph.proto, cut.model)
    ]
    for walk in walks:
        for batch in cut.source.batches():
            walk.feed(batch.inputs)
        walk.require(["q1"])
    whole = mixing(partner, cut.keep, *walks)
    before, after = (np.concatenate(list(walk.live["q1"])).astype(np.float64) for walk in walks)
    rows = 0
    for head in (1,) if heads else (0, 1):
        full = np.arange(6) + 6 * head
        kept = np.arange(4) + (0 if heads else 4 * head)
        a, a_kept = before[..., full].reshape(-1, 6), after[..., kept].reshape(-1, 4)
        best = np.linalg.lstsq(a_kept, a, rcond=None)[0].T
        np.testing.assert_allclose(whole[np.ix_(full, kept)], best, atol=2e-3)
        rows += len(full)
    assert np.count_nonzero(whole.any(axis=1)) == rows


@pytest.mark.parametrize("heads", [False, True])
def test_the_key_layer_takes_the_lost_dimensions_in(tmp_path: Path, heads: bool) -> None:
    cut = make_cut(tmp_path, dims=(1, 4), heads=heads)
    layers = {layer.target: layer for layer in recover_least_squares(cut).layers}
    assert layers["k1"].kept
    assert layers["k1"].after is not None
    assert layers["k1"].after < 1e-6  # k P is linear in x, which has not changed
    output = layers["y"]
    assert output.after is not None
    assert output.before is not None
    assert output.after < output.before


def test_whole_heads_leave_the_others_alone(tmp_path: Path) -> None:
    cut = make_cut(tmp_path, dims=(), heads=True)
    assert [layer.target for layer in recover_least_squares(cut).layers] == ["y"]
