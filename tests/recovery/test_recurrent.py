from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto, numpy_helper

from onnxslim_snacs.activations.open_data import open_source
from onnxslim_snacs.config import DataConfig
from onnxslim_snacs.ir.keep import keep_map
from onnxslim_snacs.passes.prune import prune
from onnxslim_snacs.recovery.jobs import Cut
from onnxslim_snacs.recovery.methods import recover_bias, recover_least_squares, recover_statistics
from tests.harness import check, model_from_text, read, run

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
METHODS = {
    "bias": recover_bias,
    "stats": recover_statistics,
    "least-squares": recover_least_squares,
}


def text(op: str, directions: int = 1) -> str:
    """A layer, a recurrence over 9 steps of its output, and a layer behind it."""
    rows = 6 * GATES[op]
    way = ', direction = "bidirectional"' if directions == 2 else ""
    return f"""
<ir_version: 8, opset_import: ["" : 17]>
g (float[n, 9, 5] x, float[5, 8] w_a, float[{directions}, {rows}, 8] w_w,
   float[{directions}, {rows}, 6] w_r, float[{directions}, {2 * rows}] w_b,
   float[{6 * directions}, 4] w_o) => (float[9, n, 4] y) {{
  join = Constant<value_ints = [9, -1, {6 * directions}]>()
  a = MatMul(x, w_a)
  ra = Relu(a)
  t = Transpose<perm = [1, 0, 2]>(ra)
  h = {op}<hidden_size = 6{way}>(t, w_w, w_r, w_b)
  s = Transpose<perm = [0, 2, 1, 3]>(h)
  f = Reshape(s, join)
  y = MatMul(f, w_o)
}}
"""


def make_cut(tmp_path: Path, op: str, directions: int, copies: bool = False) -> Cut:
    """Loses 3 of 8 features and 2 of 6 hidden units."""
    model = model_from_text(text(op, directions), 1, integers=False)
    for tensor in model.graph.initializer:
        array = 0.4 * numpy_helper.to_array(tensor)
        if copies and tensor.name == "w_a":
            array[:, [1, 4, 6]] = array[:, [0, 2, 3]]
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    analysis = read(model)
    lost = {8: [1, 4, 6], 6: [] if copies else [0, 3]}
    kept = {g.id: ~np.isin(np.arange(g.units), lost[g.units]) for g in analysis.ir.groups}
    keep = keep_map(analysis.ir, kept)
    rng = np.random.default_rng(0)
    x = 0.8 * rng.standard_normal((80, 9, 5)) + 0.3
    np.save(tmp_path / "x.npy", x.astype(np.float32))
    source = open_source(DataConfig(path=str(tmp_path / "x.npy")), analysis.graph)
    return Cut(analysis, keep, prune(analysis, keep), source)


def error(cut: Cut, model: ModelProto) -> float:
    wanted, got = (
        np.concatenate([run(m, b.inputs, 0)[0] for b in cut.source.batches()], axis=1)
        for m in (cut.analysis.graph.proto, model)
    )
    found: float = np.square(wanted - got).sum() / np.square(wanted - wanted.mean()).sum()
    return found


@pytest.mark.parametrize("op", GATES)
@pytest.mark.parametrize("directions", [1, 2])
@pytest.mark.parametrize("method", METHODS)
def test_both_products_are_fitted(tmp_path: Path, op: str, directions: int, method: str) -> None:
    cut = make_cut(tmp_path, op, directions)
    recovered = METHODS[method](cut)
    check(recovered.model, full=True)
    assert [layer.target for layer in recovered.layers] == ["w_w", "w_r", "y"]
    assert any(layer.kept for layer in recovered.layers[:2])
    assert error(cut, recovered.model) < error(cut, cut.model)


@pytest.mark.parametrize("op", GATES)
def test_copied_features_are_recovered_exactly(tmp_path: Path, op: str) -> None:
    cut = make_cut(tmp_path, op, 2, copies=True)
    recovered = recover_least_squares(cut)
    assert [layer.target for layer in recovered.layers] == ["w_w", "y"]
    assert error(cut, cut.model) > 1e-3
    assert error(cut, recovered.model) < 1e-6
