"""The models and samples to which the documents' commands are applied.

All but the bundled one are made here, with more channels than they need: every second one says what
the one before it says, so that half of them can go and the rest be re-fitted.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, numpy_helper, parser

from tests.docs.pages import ROOT

MODELS = ROOT / "models"
HEAD = '<ir_version: 8, opset_import: ["" : 17]>\n'

#: Three layers of convolution, two heads for boxes and classes, and NMS behind them.
DETECTOR = """net (float[1,3,64,64] images, float[16,3,3,3] w_a, float[16,16,3,3] w_b,
  float[32,16,3,3] w_c, float[4,32,1,1] w_boxes, float[3,32,1,1] w_scores)
  => (float[1,64,4] boxes, float[1,3,64] scores, int64[K,3] selected)
  <int64[3] rows = {1, 4, 64}, int64[3] kinds = {1, 3, 64}, int64 most = {20}, float iou = {0.5},
   float least = {0.55}, float big = {16.0}, float[4] cell = {0.0, 0.0, 8.0, 8.0}> {
  a = Conv<strides = [2, 2], pads = [1, 1, 1, 1]>(images, w_a)
  ra = Relu(a)
  b = Conv<strides = [2, 2], pads = [1, 1, 1, 1]>(ra, w_b)
  rb = Relu(b)
  c = Conv<strides = [2, 2], pads = [1, 1, 1, 1]>(rb, w_c)
  rc = Relu(c)
  p = Conv(rc, w_boxes)
  q = Reshape(p, rows)
  r = Transpose<perm = [0, 2, 1]>(q)
  s = Sigmoid(r)
  t = Mul(s, big)
  boxes = Add(t, cell)
  u = Conv(rc, w_scores)
  v = Reshape(u, kinds)
  scores = Sigmoid(v)
  selected = NonMaxSuppression(boxes, scores, most, iou, least)
}"""

#: A block of a transformer as exporters write it: four heads of eight, and an MLP.
TRANSFORMER = """net (float[N,12,32] tokens, float[32] w_s1, float[32] w_t1, float[32] w_s2,
  float[32] w_t2, float[32,32] w_q, float[32,32] w_k, float[32,32] w_v, float[32,32] w_o,
  float[32,64] w_up, float[64,32] w_down, float[32,5] w_head) => (float[N,5] classes)
  <int64[4] apart = {0, 12, 4, 8}, int64[3] together = {0, 12, 32}, float scale = {0.35355338}> {
  n = LayerNormalization<axis = -1>(tokens, w_s1, w_t1)
  q = MatMul(n, w_q)
  k = MatMul(n, w_k)
  v = MatMul(n, w_v)
  qr = Reshape(q, apart)
  kr = Reshape(k, apart)
  vr = Reshape(v, apart)
  qt = Transpose<perm = [0, 2, 1, 3]>(qr)
  kt = Transpose<perm = [0, 2, 3, 1]>(kr)
  vt = Transpose<perm = [0, 2, 1, 3]>(vr)
  s = MatMul(qt, kt)
  f = Mul(s, scale)
  w = Softmax<axis = -1>(f)
  m = MatMul(w, vt)
  mt = Transpose<perm = [0, 2, 1, 3]>(m)
  mr = Reshape(mt, together)
  o = MatMul(mr, w_o)
  x = Add(tokens, o)
  h = LayerNormalization<axis = -1>(x, w_s2, w_t2)
  up = MatMul(h, w_up)
  g = Relu(up)
  down = MatMul(g, w_down)
  z = Add(x, down)
  mean = ReduceMean<axes = [1], keepdims = 0>(z)
  classes = MatMul(mean, w_head)
}"""

#: One frame of speech at a time, and a state that goes in and comes out.
STREAM = """net (float[1,1,20] frame, float[1,1,16] state, float[1,48,20] w_x, float[1,48,16] w_h,
  float[16,20] w_mask) => (float[1,1,1,20] cleaned, float[1,1,16] state_out) {
  y, state_out = GRU<hidden_size = 16>(frame, w_x, w_h, , , state)
  m = MatMul(y, w_mask)
  g = Sigmoid(m)
  cleaned = Mul(g, frame)
}"""

#: Wide enough that its time is not that of calling it.
WIDE = """net (float[N,3,48,48] image, float[64,3,3,3] w_a, float[64,64,3,3] w_b,
  float[64,64,3,3] w_c, float[64,10] w_head) => (float[N,10] classes) {
  a = Conv<pads = [1, 1, 1, 1]>(image, w_a)
  ra = Relu(a)
  b = Conv<pads = [1, 1, 1, 1]>(ra, w_b)
  rb = Relu(b)
  c = Conv<pads = [1, 1, 1, 1]>(rb, w_c)
  rc = Relu(c)
  p = ReduceMean<axes = [2, 3], keepdims = 0>(rc)
  classes = MatMul(p, w_head)
}"""


def classifier(folder: Path) -> None:
    """The bundled model with its samples."""
    for name, there in {
        "digits_resnet.onnx": "model.onnx",
        "digits_calibration.npz": "calibration.npz",
        "digits_test.npz": "test.npz",
    }.items():
        shutil.copy(MODELS / name, folder / there)


def in_a_checkout(folder: Path) -> None:
    """A folder that looks like a fresh clone."""
    (folder / "models").symlink_to(MODELS)
    (folder / "out").mkdir()


def detector(folder: Path) -> None:
    """A detector with NMS, and forty pictures of bright and dark patches."""
    twins = {"w_a": 0, "w_b": 0, "w_c": 0}
    onnx.save(_made(DETECTOR, twins), folder / "detector.onnx")
    rng = np.random.default_rng(1)
    patches = rng.uniform(0, 1, (40, 3, 4, 4)).repeat(16, axis=2).repeat(16, axis=3)
    pictures = patches + 0.1 * rng.standard_normal((40, 3, 64, 64))
    np.savez(folder / "pictures.npz", images=pictures.astype(np.float32))


def transformer(folder: Path) -> None:
    """A transformer whose MLP has twice the units that it needs."""
    onnx.save(_made(TRANSFORMER, {"w_up": 1}), folder / "transformer.onnx")
    tokens = np.random.default_rng(1).standard_normal((200, 12, 32))
    np.savez(folder / "tokens.npz", tokens=tokens.astype(np.float32))


def stream(folder: Path) -> None:
    """A model that cleans speech frame by frame, and frames with the states before them."""
    onnx.save(_made(STREAM, {}), folder / "stream.onnx")
    rng = np.random.default_rng(1)
    arrays = {
        "frame": rng.standard_normal((200, 1, 1, 20)),
        "state": np.tanh(rng.standard_normal((200, 1, 1, 16))),
    }
    held: dict[str, Any] = {k: v.astype(np.float32) for k, v in arrays.items()}
    np.savez(folder / "frames.npz", **held)


def wide(folder: Path) -> None:
    """A network that takes a few milliseconds."""
    onnx.save(_made(WIDE, {"w_a": 0, "w_b": 0, "w_c": 0}), folder / "wide.onnx")
    images = np.random.default_rng(1).standard_normal((64, 3, 48, 48))
    np.savez(folder / "images.npz", image=images.astype(np.float32))


MAKERS: Mapping[str, Callable[[Path], None]] = {
    "classifier": classifier,
    "checkout": in_a_checkout,
    "detector": detector,
    "transformer": transformer,
    "stream": stream,
    "wide": wide,
}


def _made(text: str, twins: Mapping[str, int]) -> ModelProto:
    """A model from ONNX text; inputs w_... become weights.

    Args:
        text: the graph.
        twins: weight -> axis along which every second entry repeats the one before it, scaled.
    """
    model = parser.parse_model(HEAD + text)
    rng = np.random.default_rng(0)
    for info in [v for v in model.graph.input if v.name.startswith("w_")]:
        model.graph.input.remove(info)
        shape = [d.dim_value for d in info.type.tensor_type.shape.dim]
        values = _values(info.name, shape, rng)
        if info.name in twins:
            values = _doubled(values, twins[info.name], rng)
        model.graph.initializer.append(
            numpy_helper.from_array(values.astype(np.float32), info.name)
        )
    onnx.checker.check_model(model, full_check=True)
    return model


def _values(name: str, shape: list[int], rng: np.random.Generator) -> NDArray[Any]:
    if name.startswith("w_s") and len(shape) == 1:
        return np.ones(shape)
    if name.startswith("w_t") and len(shape) == 1:
        return np.zeros(shape)
    fan = np.prod(shape[1:]) if len(shape) == 4 else shape[-1 if len(shape) == 3 else 0]
    values: NDArray[Any] = rng.standard_normal(shape) * np.sqrt(2 / fan)
    return values


def _doubled(values: NDArray[Any], axis: int, rng: np.random.Generator) -> NDArray[Any]:
    first = np.take(values, range(0, values.shape[axis], 2), axis)
    sizes = np.expand_dims(
        rng.uniform(0.5, 1.0, first.shape[axis]), tuple(d for d in range(first.ndim) if d != axis)
    )
    both = np.stack([first, first * sizes], axis=axis + 1)
    shape = list(values.shape)
    return both.reshape(shape)
