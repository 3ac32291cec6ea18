"""A run that cannot have the memory that it takes ends before it begins."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from onnxslim_snacs.commands import room
from onnxslim_snacs.commands.compress import compress
from onnxslim_snacs.config import CompressConfig, DataConfig
from onnxslim_snacs.errors import LimitExceeded
from tests.harness import model_from_text

#: Weights of 4 x 16, 16 x 16 and 16 x 3 floats; layers that read 4 and twice 16 features.
NET = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[N,4] x, float[4,16] w_a, float[16,16] w_b, float[16,3] w_c) => (float[N,3] y) {
  a = MatMul(x, w_a)  r = Relu(a)  b = MatMul(r, w_b)  s = Relu(b)  y = MatMul(s, w_c)
}
"""
WEIGHTS = 4 * (4 * 16 + 16 * 16 + 16 * 3)
MOMENTS = 8 * (4**2 + 2 * 16**2)


@pytest.mark.parametrize(
    ("goal", "least"), [({"target": {"macs": 0.5}}, WEIGHTS + MOMENTS), ({"ratio": 0.5}, WEIGHTS)]
)
def test_what_a_run_takes_at_the_least_is_asked_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, goal: Mapping[str, Any], least: int
) -> None:
    onnx.save(model_from_text(NET, integers=False), tmp_path / "net.onnx")
    drawn = np.random.default_rng(0).standard_normal((40, 4)).astype(np.float32)
    config = CompressConfig(data=DataConfig(path={"x": drawn}), criterion="l1", threads=1, **goal)
    monkeypatch.setattr(room, "taken_now", lambda: 10**6)
    stages: list[str] = []

    def run() -> None:
        compress(tmp_path / "net.onnx", config, progress=lambda stage, *_: stages.append(stage))

    monkeypatch.setattr(room, "memory_bound", lambda: 10**6 + least)
    run()
    assert "score" in stages
    stages.clear()
    monkeypatch.setattr(room, "memory_bound", lambda: 10**6 + least - 1)
    with pytest.raises(LimitExceeded, match=r"at least 1 MiB.*see --max-memory"):
        run()
    assert not {"drift", "score"} & set(stages)


def test_what_the_process_has_is_known_on_linux() -> None:
    before = room.taken_now()
    held = np.ones(1 << 24)
    assert held.nbytes <= room.taken_now() - before < 2 * held.nbytes or before == 0
