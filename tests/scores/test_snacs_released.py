"""The released form: which layers are paired, and what the cutoff takes."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest

from onnxslim_snacs.layers.pairs import layer_pairs
from onnxslim_snacs.model.graph import ModelGraph
from onnxslim_snacs.ops.analyse import analyse
from onnxslim_snacs.scores.snacs.connections import ReleasedLayer, decide_connections, retained
from onnxslim_snacs.scores.snacs.parents import LayerPair, consecutive_layers
from tests.harness import model_from_text

HEAD = '<ir_version: 8, opset_import: ["" : 17]>\n'
BLOCK = (
    HEAD
    + """net (float[N, 3, 4, 4] x, float[4, 3, 1, 1] w_stem, float[6, 4, 1, 1] w_one,
       float[5, 6, 1, 1] w_two, float[5, 4, 1, 1] w_short, float[7, 5, 1, 1] w_next)
  => (float[N, 7, 4, 4] y) {
  stem = Conv(x, w_stem)
  s = Relu(stem)
  one = Conv(s, w_one)
  o = Relu(one)
  two = Conv(o, w_two)
  short = Conv(s, w_short)
  sum = Add(two, short)
  r = Relu(sum)
  y = Conv(r, w_next)
}"""
)
FLAT = (
    HEAD
    + """net (float[N, 3, 2, 2] x, float[4, 3, 1, 1] w_a, float[16, 5] w_b) => (float[N, 5] y) {
  a = Conv(x, w_a)
  f = Flatten(a)
  y = MatMul(f, w_b)
}"""
)


def paired(text: str) -> tuple[list[LayerPair], dict[str, str]]:
    analysis = analyse(ModelGraph(model_from_text(text)))
    return consecutive_layers(analysis, list(layer_pairs(analysis)))


def test_the_parent_is_the_layer_before() -> None:
    pairs, skipped = paired(BLOCK)
    names = {p.child.name: p.parent.name for p in pairs}
    assert names == {"one": "stem", "two": "one", "short": "stem", "y": "two"}
    assert list(skipped) == ["stem"]
    assert all(np.array_equal(p.source, np.arange(len(p.source))) for p in pairs)


def test_a_flattened_parent_is_read_through_blocks() -> None:
    (pair,), _ = paired(FLAT)
    assert np.array_equal(pair.source, np.arange(16) // 4)


def layer(rho: np.ndarray, limit: float, taps: int, protected: tuple[int, ...] = ()) -> Any:
    guarded = np.isin(np.arange(len(rho)), protected)
    return ReleasedLayer(cast(Any, None), cast(Any, None), rho, limit, taps, guarded)


def naive(layers: list[ReleasedLayer], share: float) -> list[np.ndarray]:
    """method 3.9 word for word."""
    everything = sorted({float(v) for item in layers for v in item.rho.ravel()})
    delta = everything[min(round(share * len(everything)), len(everything) - 1)]
    masks = []
    for item in layers:
        own = sorted({float(v) for v in item.rho.ravel()})
        below = sum(v <= delta for v in item.rho.ravel()) / item.rho.size
        line = delta
        if below >= item.limit:
            line = own[min(round(item.limit * len(own)), len(own) - 1)]
        mask = np.zeros(item.rho.shape, dtype=bool)
        for c, p in np.ndindex(item.rho.shape):
            mask[c, p] = item.rho[c, p] <= line and not item.protected[c]
        masks.append(mask)
    return masks


@pytest.mark.parametrize("share", [0.05, 0.3, 0.6, 1.0])
def test_decision_is_the_naive_loop(share: float) -> None:
    rng = np.random.default_rng(3)
    sizes = ((6, 5), (4, 6), (8, 4))
    layers = [
        layer(rng.integers(0, 40, size) / 40 * scale, limit, 9, guarded)
        for size, scale, limit, guarded in zip(
            sizes, (1.0, 0.5, 2.0), (0.31, 0.96, 0.61), ((0,), (), (2, 3)), strict=True
        )
    ]
    got = decide_connections(layers, share)
    for mask, expected in zip(got, naive(layers, share), strict=True):
        assert np.array_equal(mask, expected)


def test_nothing_goes_at_share_zero_and_taps_count() -> None:
    rng = np.random.default_rng(4)
    layers = [layer(rng.random((3, 3)), 0.9, 9), layer(rng.random((2, 3)), 0.9, 1)]
    assert retained(layers, decide_connections(layers, 0.0)) == 1.0
    goes = [np.zeros((3, 3), dtype=bool), np.ones((2, 3), dtype=bool)]
    assert retained(layers, goes) == pytest.approx(81 / 87)
