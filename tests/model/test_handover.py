"""Models whose weights lie outside of the bytes that ONNX Runtime is given."""

from __future__ import annotations

import gc
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, numpy_helper

from onnxslim_snacs.errors import InputRefused
from onnxslim_snacs.model.handover import hand_over
from onnxslim_snacs.model.load import load_model
from onnxslim_snacs.model.save import save_model
from onnxslim_snacs.model.session import SessionConfig, create_session
from tests.harness import model_from_text

TEXT = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[N, 3, 8, 8] x, float[64, 3, 3, 3] w_a, float[64] w_b, float[64, 5] w_c)
  => (float[N, 5] y) {
  h = Conv <pads = [1, 1, 1, 1]> (x, w_a, w_b)
  r = Relu(h)
  p = GlobalAveragePool(r)
  f = Flatten(p)
  y = MatMul(f, w_c)
}
"""
X = np.random.default_rng(0).standard_normal((2, 3, 8, 8)).astype(np.float32)


def run(model: ModelProto, base_dir: Path | None = None, level: int = 3) -> list[np.ndarray]:
    session = create_session(model, SessionConfig(level=level), base_dir)
    gc.collect()
    return [np.asarray(o) for o in session.run(None, {"x": X})]


@pytest.mark.parametrize("level", [0, 3])
def test_external_weights_give_the_same_outputs(tmp_path: Path, level: int) -> None:
    model = model_from_text(TEXT, integers=False)
    wanted = run(model, level=level)
    save_model(model, tmp_path / "m.onnx", max_inline=0)
    graph = load_model(tmp_path / "m.onnx")
    assert any(t.data_location == TensorProto.EXTERNAL for t in graph.proto.graph.initializer)
    got = run(graph.proto, graph.base_dir, level)
    np.testing.assert_array_equal(got[0], wanted[0])


def test_external_tensor_of_a_constant_node_is_read_in(tmp_path: Path) -> None:
    model = model_from_text(TEXT, integers=False)
    wanted = run(model)
    first = model.graph.initializer[0]
    value = numpy_helper.from_array(numpy_helper.to_array(first), first.name)
    del model.graph.initializer[0]
    model.graph.node.insert(0, onnx.helper.make_node("Constant", [], [first.name], value=value))
    onnx.save(
        model, tmp_path / "m.onnx", save_as_external_data=True, size_threshold=16,
        convert_attribute=True, location="m.data",
    )  # fmt: skip
    graph = load_model(tmp_path / "m.onnx")
    parts = hand_over(graph.proto, graph.base_dir)
    assert parts.proto.graph.node[0].attribute[0].t.raw_data
    np.testing.assert_array_equal(run(graph.proto, graph.base_dir)[0], wanted[0])


def test_large_weights_inside_travel_on_their_own() -> None:
    model = model_from_text(TEXT, integers=False)
    parts = hand_over(model, max_inline=4096)
    assert set(parts.values) == {"w_a"}  # the others are below a page
    assert parts.proto.ByteSize() < 4096
    assert model.graph.initializer[0].raw_data or model.graph.initializer[0].float_data


def test_small_models_are_not_copied() -> None:
    model = model_from_text(TEXT)
    assert hand_over(model).proto is model


def test_without_a_folder_external_data_are_refused(tmp_path: Path) -> None:
    save_model(model_from_text(TEXT), tmp_path / "m.onnx", max_inline=0)
    graph = load_model(tmp_path / "m.onnx")
    with pytest.raises(InputRefused, match="folder is not known"):
        hand_over(graph.proto)


def test_large_external_weights_stay_in_their_file(tmp_path: Path) -> None:
    save_model(model_from_text(TEXT), tmp_path / "m.onnx", max_inline=0)
    graph = load_model(tmp_path / "m.onnx")
    parts = hand_over(graph.proto, graph.base_dir)
    stored = {t.name: t.data_location for t in parts.proto.graph.initializer}
    assert stored["w_a"] == TensorProto.EXTERNAL
    assert stored["w_b"] != TensorProto.EXTERNAL  # small ones may be shapes, which have to be read
    assert parts.folder == tmp_path.resolve()
    assert not parts.values
    assert isinstance(graph.array("w_a"), np.memmap)


def test_watched_tensors_become_outputs_behind_the_others() -> None:
    session = create_session(model_from_text(TEXT), SessionConfig(), None, ["p", "h"])
    assert [o.name for o in session.get_outputs()] == ["y", "p", "h"]
