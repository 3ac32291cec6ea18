"""Models at which ONNX Runtime crashes as it rewrites graphs; the suite would go with it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

# A recurrent layer with the batch first, as PyTorch exports it, in half precision.
BATCH_FIRST = """
<ir_version: 8, opset_import: ["" : 17]>
net (float16[B,T,6] x) => (float16[B,T,3] y) <int64[1] axis = {1}> {
  t = Transpose <perm = [1, 0, 2]> (x)
  o = OP <hidden_size = 8> (t, w_in, w_again)
  s = Squeeze (o, axis)
  u = Transpose <perm = [1, 0, 2]> (s)
  y = MatMul (u, w_out)
}
"""


@pytest.mark.parametrize(("op", "gates"), [("GRU", 3), ("LSTM", 4), ("RNN", 1)])
def test_recurrent_layers_in_half_precision_do_not_crash(
    op: str, gates: int, tmp_path: Path
) -> None:
    rng = np.random.default_rng(1)
    model = onnx.parser.parse_model(BATCH_FIRST.replace("OP", op))
    for name, dims in (("w_in", (1, 8 * gates, 6)), ("w_again", (1, 8 * gates, 8))):
        weight = (0.3 * rng.standard_normal(dims)).astype(np.float16)
        model.graph.initializer.append(numpy_helper.from_array(weight, name))
    head = rng.standard_normal((8, 3)).astype(np.float16)
    model.graph.initializer.append(numpy_helper.from_array(head, "w_out"))
    onnx.save(model, tmp_path / "net.onnx")
    np.savez(tmp_path / "data.npz", x=rng.standard_normal((64, 5, 6)).astype(np.float16))
    line = "compress net.onnx --data data.npz --target params=0.7 -o out.onnx --threads 1"
    done = subprocess.run(
        [sys.executable, "-m", "onnxslim_snacs", *line.split()],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-500:]
    cut = {t.name: tuple(t.dims) for t in onnx.load(tmp_path / "out.onnx").graph.initializer}
    assert cut["w_out"][0] < 8
    assert cut["w_again"] == (1, gates * cut["w_out"][0], cut["w_out"][0])
