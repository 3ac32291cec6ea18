"""A model in torch: what is trained, what goes back, what gradients of an edge are."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from onnxslim_snacs.errors import InputRefused, UsageError
from onnxslim_snacs.model.graph import ModelGraph
from onnxslim_snacs.model.session import SessionConfig, create_session
from onnxslim_snacs.torch_graph import late
from onnxslim_snacs.torch_graph.network import open_network, run
from onnxslim_snacs.torch_graph.put_back import with_weights
from tests.harness import model_from_text
from tests.torch_graph.cases import Case

_NORM = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[N,2,3,3] x, float[4,2,1,1] w_a, float[4] w_scale, float[4] w_bias, float[4] w_mean, float[4] w_var) => (float[N,4,3,3] y)
  <float[4] table = {1.0, 2.0, 3.0, 4.0}, float one = {1.0}> {
  v = Constant<value = float[4,1,1] {0.5, 1.5, 2.5, 3.5}>()
  a = Conv(x, w_a)
  p = Mul(w_var, w_var)
  b = BatchNormalization(a, w_scale, w_bias, w_mean, table)
  c = Add(b, v)
  y = Add(c, one)
}
"""  # noqa: E501


def ort(model: onnx.ModelProto, feeds: dict[str, NDArray[Any]]) -> Any:
    return create_session(model, SessionConfig(level=0)).run(None, feeds)[0]


def test_weights_are_trained_statistics_and_numbers_are_not() -> None:
    network = open_network(ModelGraph(model_from_text(_NORM, integers=False)))
    assert set(network.trained) == {"w_a", "w_scale", "w_bias", "w_var", "v"}
    assert set(network.values) - set(network.trained) == {"w_mean", "table", "one"}


def test_trained_weights_go_back_under_their_names_and_the_rest_stays_byte_for_byte() -> None:
    model = model_from_text(_NORM, integers=False)
    before = model.SerializeToString()
    network = open_network(ModelGraph(model))
    assert with_weights(network).SerializeToString() == before
    with torch.no_grad():
        network.values["w_a"].mul_(2.0)
        network.values["v"].add_(1.0)
    written = with_weights(network)
    assert model.SerializeToString() == before
    feeds = {"x": np.random.default_rng(0).standard_normal((2, 2, 3, 3)).astype(np.float32)}
    got = run(network, feeds).outputs["y"].detach().numpy()
    np.testing.assert_allclose(got, ort(written, feeds), rtol=1e-5, atol=1e-5)
    changed = {
        t.name
        for t, u in zip(model.graph.initializer, written.graph.initializer, strict=True)
        if t.SerializeToString() != u.SerializeToString()
    }
    assert changed == {"w_a"}
    assert [n.name for n in written.graph.node] == [n.name for n in model.graph.node]


def test_half_precision_is_trained_in_single_and_written_in_half() -> None:
    model = model_from_text(
        """
<ir_version: 8, opset_import: ["" : 17]>
net (float16[2,3] x, float16[3,4] w_a) => (float16[2,4] y) { y = MatMul(x, w_a) }
""",
        integers=False,
    )
    network = open_network(ModelGraph(model))
    assert network.values["w_a"].dtype == torch.float32
    with torch.no_grad():
        network.values["w_a"].add_(1e-5)  # nothing that half precision could hold
    (written,) = with_weights(network).graph.initializer
    assert written.data_type == TensorProto.FLOAT16
    assert written.SerializeToString() == model.graph.initializer[0].SerializeToString()


def test_a_missing_operator_is_named_with_its_node() -> None:
    node = helper.make_node("Nonsense", ["x"], ["y"], name="the one", domain="acme")
    info = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    model = helper.make_model(helper.make_graph([node], "g", [info], [out]))
    with pytest.raises(InputRefused, match=r"acme::Nonsense \(node the one\)"):
        open_network(ModelGraph(model))


def test_what_fails_at_run_time_names_the_node() -> None:
    network = Case("MatMul", ((2, 3), (3, 4))).network()
    with pytest.raises(InputRefused, match="MatMul node node fails in torch"):
        run(network, {"x0": np.zeros((2, 5), np.float32), "x1": np.zeros((3, 4), np.float32)})
    with pytest.raises(InputRefused, match="input x1 of the model is not given"):
        run(network, {"x0": np.zeros((2, 5), np.float32)})


def test_rounding_lets_gradients_through_and_the_end_of_the_range_does_not() -> None:
    network = Case("QuantizeLinear", ((4,), np.float32(0.5), np.int8(0))).network()
    x = torch.tensor([0.3, -1.26, 63.9, -99.0], requires_grad=True)
    feeds = {"x0": x, "x1": torch.tensor(0.5), "x2": torch.tensor(0, dtype=torch.int8)}
    (made,) = run(network, feeds).outputs.values()
    assert made.tolist() == [1.0, -3.0, 127.0, -128.0]  # 127.8 and -198 are cut off
    (gradient,) = torch.autograd.grad(made.sum(), x)
    assert gradient.tolist() == [2.0, 2.0, 0.0, 0.0]


def test_stored_bytes_are_trained_as_numbers_between_them() -> None:
    model = model_from_text(
        """
<ir_version: 8, opset_import: ["" : 17]>
net (float[1,2] x, int8[2,2] w_q) => (float[1,2] y) <float scale = {0.5}> {
  w = DequantizeLinear(w_q, scale)
  y = MatMul(x, w)
}
"""
    )
    model.graph.initializer[1].CopyFrom(
        numpy_helper.from_array(np.array([[1, 2], [3, 127]], np.int8), "w_q")
    )
    network = open_network(ModelGraph(model))
    assert network.trained == ("w_q",)
    feeds = {"x": np.ones((1, 2), np.float32)}
    with torch.no_grad():
        network.values["w_q"].add_(torch.tensor([[0.4, 0.6], [0.0, 9.0]]))
    made = run(network, feeds).outputs["y"]
    assert made.tolist() == [[0.5 * (1 + 3), 0.5 * (3 + 127)]]
    (gradient,) = torch.autograd.grad(made.sum(), network.values["w_q"])
    assert gradient.tolist() == [[0.5, 0.5], [0.5, 0.0]]
    written = with_weights(network)
    np.testing.assert_array_equal(ort(written, feeds), made.detach().numpy())


def test_the_gradient_of_an_edge_is_that_of_its_reader_alone() -> None:
    graph = ModelGraph(
        model_from_text(
            """
<ir_version: 8, opset_import: ["" : 17]>
net (float[1,2] x) => (float[1,2] y)
  <float[2] two = {2.0, 3.0}, float[2] five = {5.0, 7.0}> {
  a = Neg(x)
  b = Mul(a, two)
  c = Mul(a, five)
  y = Add(b, c)
}
"""
        )
    )
    network = open_network(graph)
    x = torch.ones((1, 2), requires_grad=True)
    found = run(network, {"x": x}, watched=["a"], edges=[(1, 0), (2, 0)])
    assert found.watched["a"].tolist() == [[-1.0, -1.0]]
    parts = torch.autograd.grad(found.outputs["y"].sum(), list(found.edges.values()))
    assert list(found.edges) == [(1, 0), (2, 0)]
    assert [p.tolist() for p in parts] == [[[2.0, 3.0]], [[5.0, 7.0]]]


def test_queries_keys_and_values_in_one_tensor_equal_those_in_three() -> None:
    rng = np.random.default_rng(0)
    packed = rng.standard_normal((2, 3, 2, 3, 4)).astype(np.float32)
    one = Case("com.microsoft::MultiHeadAttention", ((2, 3, 2, 3, 4),), {"num_heads": 2})
    three = Case("com.microsoft::MultiHeadAttention", ((2, 3, 8),) * 3, {"num_heads": 2})
    apart = {f"x{k}": packed[:, :, :, k].reshape(2, 3, 8) for k in range(3)}
    (a,) = run(one.network(), {"x0": packed}).outputs.values()
    (b,) = run(three.network(), apart).outputs.values()
    np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-6)


def test_names_that_two_bodies_use_stand_for_two_values() -> None:
    graph = ModelGraph(
        model_from_text(
            """
<ir_version: 8, opset_import: ["" : 17]>
net (float[2] x, bool flag) => (float[2] y) {
  y = If (flag) <
    then_branch = left () => (float[2] l) <float[2] k = {1.0, 2.0}> { l = Mul(x, k) },
    else_branch = right () => (float[2] r) <float[2] k = {3.0, 4.0}> { r = Mul(x, k) }
  >
}
"""
        )
    )
    network = open_network(graph)
    assert {key: v.tolist() for key, v in network.parameters.items()} == {
        "k": [1.0, 2.0],
        "k#1": [3.0, 4.0],
    }
    with torch.no_grad():
        network.values["k#1"].mul_(10.0)
    feeds = {"x": np.ones(2, np.float32), "flag": np.array(False)}
    assert ort(with_weights(network), feeds).tolist() == [30.0, 40.0]


def test_without_torch_one_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr("importlib.import_module", fail)
    with pytest.raises(UsageError, match=r"onnxslim-snacs\[train\]"):
        _ = late._Late("torch").Tensor
