"""Channels of tensors that a loop puts into a sequence, at lengths that nobody has tried."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper

from onnxslim_snacs import CompressConfig, compress
from onnxslim_snacs.model.session import SessionConfig, create_session

# Windows of four steps (the last one is shorter) go through a layer one by one, and are put
# together again; the last window is read once more, by its place.
WINDOWS = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[B, T, 3] x) => (float[B, U, 2] y, float[B, V, 2] z)
    <int64 four = {4}, int64 last = {-1}, bool on = {1}> {
  a = MatMul (x, w_a)
  r = Relu (a)
  s = SplitToSequence <axis = 1> (r, four)
  n = SequenceLength (s)
  e = SequenceEmpty ()
  t = Loop <body = turn (int64 k, bool go, seq(float[B,W,C]) held)
      => (bool more, seq(float[B,W,C]) now) {
    more = Identity (go)
    p = SequenceAt (s, k)
    b = MatMul (p, w_b)
    q = Relu (b)
    now = SequenceInsert (held, q)
  }> (n, on, e)
  j = ConcatFromSequence <axis = 1> (t)
  y = MatMul (j, w_c)
  l = SequenceAt (t, last)
  z = MatMul (l, w_d)
}
"""
WEIGHTS = {"w_a": (3, 8), "w_b": (8, 6), "w_c": (6, 2), "w_d": (6, 2)}


def _relu(values: NDArray[Any]) -> NDArray[Any]:
    return values * (values > 0)


@pytest.mark.parametrize("criterion", ["l1", "random"])
def test_body_sequence_and_readers_lose_the_same_channels(criterion: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    model = onnx.parser.parse_model(WINDOWS)
    weights = {n: rng.integers(-3, 4, dims).astype(np.float32) for n, dims in WEIGHTS.items()}
    model.graph.initializer.extend(numpy_helper.from_array(v, n) for n, v in weights.items())
    path, out = tmp_path / "windows.onnx", tmp_path / "out.onnx"
    onnx.save(model, path)
    config = CompressConfig(ratio=0.5, criterion=criterion, recover="none")
    done = compress(path, config, out=out)
    assert [(group.units, group.kept) for group in done.report.groups] == [(8, 4), (6, 3)]
    cut = onnx.load(out)
    left = {t.name: tuple(t.dims) for t in cut.graph.initializer if t.name in WEIGHTS}
    assert left == {"w_a": (3, 4), "w_b": (4, 3), "w_c": (3, 2), "w_d": (3, 2)}
    kept = list(done.plan.kept().values())
    a, b = weights["w_a"][:, kept[0]], weights["w_b"][kept[0]][:, kept[1]]
    session = create_session(cut, SessionConfig(level=0))
    for steps in (1, 3, 13, 27):
        x = rng.integers(-3, 4, (5, steps, 3)).astype(np.float32)
        hidden = _relu(_relu(x @ a) @ b)
        whole, last = session.run(None, {"x": x})
        np.testing.assert_array_equal(whole, hidden @ weights["w_c"][kept[1]])
        begin = (steps - 1) // 4 * 4
        np.testing.assert_array_equal(last, hidden[:, begin:] @ weights["w_d"][kept[1]])
