"""Rows times weights have to give what ONNX Runtime computes for the layer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

from onnxslim_snacs.layers.layers import Layer, original_layers, weight_blocks, weight_from_blocks
from onnxslim_snacs.layers.rows import layer_rows, some_of, target_rows
from onnxslim_snacs.recovery.affine import read_affine
from tests.harness import read, run


def one_layer(
    op: str,
    data: tuple[int, ...],
    weight: tuple[int, ...],
    *,
    left: bool = False,
    **attributes: Any,
) -> tuple[ModelProto, NDArray[Any]]:
    """A model of one layer with a bias where the operator has room for one."""
    rng = np.random.default_rng(0)
    w = rng.standard_normal(weight).astype(np.float32)
    constants = [numpy_helper.from_array(w, "w")]
    inputs = ["w", "x"] if left else ["x", "w"]
    if op != "MatMul":
        made = weight[1] * attributes.get("group", 1) if op == "ConvTranspose" else weight[0]
        if op == "Gemm":
            made = weight[0] if attributes.get("transB") else weight[1]
        b = rng.standard_normal(made).astype(np.float32)
        constants.append(numpy_helper.from_array(b, "b"))
        inputs.append("b")
    graph = helper.make_graph(
        [helper.make_node(op, inputs, ["y"], **attributes)],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, data)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return model, rng.standard_normal(data).astype(np.float32)


CASES: dict[str, tuple[Any, ...]] = {
    "pointwise": ("Conv", (2, 3, 5, 4), (4, 3, 1, 1), {}),
    "pads": ("Conv", (2, 3, 6, 5), (4, 3, 3, 3), {"pads": [1, 0, 2, 1]}),
    "stride": ("Conv", (2, 3, 7, 8), (4, 3, 3, 2), {"strides": [2, 3], "pads": [1, 1, 1, 1]}),
    "stride without end": ("Conv", (1, 2, 8, 8), (3, 2, 3, 3), {"strides": [3, 3]}),
    "dilation": ("Conv", (2, 2, 9, 9), (3, 2, 3, 3), {"dilations": [2, 3], "pads": [2, 3, 2, 3]}),
    "groups": ("Conv", (2, 6, 5, 5), (4, 3, 3, 3), {"group": 2}),
    "depthwise": ("Conv", (2, 4, 5, 5), (8, 1, 3, 3), {"group": 4, "pads": [1, 1, 1, 1]}),
    "same upper": (
        "Conv",
        (1, 2, 5, 6),
        (3, 2, 4, 2),
        {"auto_pad": "SAME_UPPER", "strides": [2, 1]},
    ),
    "same lower": (
        "Conv",
        (1, 2, 5, 6),
        (3, 2, 4, 2),
        {"auto_pad": "SAME_LOWER", "strides": [2, 1]},
    ),
    "valid": ("Conv", (1, 2, 5, 6), (3, 2, 2, 2), {"auto_pad": "VALID"}),
    "one axis": ("Conv", (3, 2, 9), (4, 2, 3), {"strides": [2], "pads": [1, 2]}),
    "three axes": ("Conv", (1, 2, 4, 5, 3), (3, 2, 2, 3, 1), {"pads": [1, 1, 0, 0, 1, 1]}),
    "transposed": ("ConvTranspose", (2, 3, 4, 5), (3, 4, 3, 3), {}),
    "transposed stride": (
        "ConvTranspose",
        (2, 3, 4, 5),
        (3, 4, 3, 2),
        {"strides": [2, 3], "pads": [1, 0, 1, 1], "output_padding": [1, 2]},
    ),
    "transposed dilation": (
        "ConvTranspose",
        (1, 2, 4, 4),
        (2, 3, 3, 3),
        {"strides": [2, 1], "dilations": [1, 2], "pads": [0, 2, 1, 0]},
    ),
    "transposed groups": ("ConvTranspose", (2, 4, 3, 3), (4, 3, 2, 2), {"group": 2}),
    "transposed shape": (
        "ConvTranspose",
        (1, 2, 4, 4),
        (2, 3, 3, 3),
        {"strides": [2, 2], "output_shape": [8, 7]},
    ),
    "transposed same": (
        "ConvTranspose",
        (1, 2, 4, 4),
        (2, 3, 3, 3),
        {"strides": [2, 2], "auto_pad": "SAME_UPPER"},
    ),
    "Gemm": ("Gemm", (5, 4), (4, 3), {"alpha": 0.5, "beta": 2.0}),
    "Gemm transB": ("Gemm", (5, 4), (3, 4), {"transB": 1}),
    "Gemm transA": ("Gemm", (4, 5), (4, 3), {"transA": 1}),
    "MatMul": ("MatMul", (2, 3, 4), (4, 5), {}),
    "MatMul left": ("MatMul", (2, 4, 3), (5, 4), {"left": True}),
}


@pytest.mark.parametrize("sparse", [0, 10**9], ids=["one by one", "whole"])
@pytest.mark.parametrize("case", CASES)
def test_rows_times_weights_are_the_output(
    case: str, sparse: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onnxslim_snacs.layers.rows.SPARSE", sparse)
    op, data, weight, attributes = CASES[case]
    model, x = one_layer(op, data, weight, **attributes)
    analysis = read(model)
    ((_, layer),) = original_layers(analysis)
    (y,) = run(model, {"x": x}, 0)
    fit = read_affine(analysis.graph, layer)
    assert fit is not None
    positions = y.size // layer.outputs
    chosen = np.random.default_rng(1).permutation(positions)[: max(3, positions // 2)]
    rows = layer_rows(layer, model.graph.node[0], x, y.shape, chosen)
    wanted = target_rows(y, layer.out_dim, len(rows), chosen)
    np.testing.assert_allclose(rows @ fit.weight + fit.bias[:, None], wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_weights_survive_the_way_there_and_back(case: str) -> None:
    op, data, weight, attributes = CASES[case]
    model, _ = one_layer(op, data, weight, **attributes)
    ((_, layer),) = original_layers(read(model))
    stored = numpy_helper.to_array(model.graph.initializer[0])
    back = weight_from_blocks(layer, weight_blocks(layer, stored), stored)
    np.testing.assert_array_equal(back, stored)
    assert isinstance(layer, Layer)


def test_some_of_the_positions_are_distinct_and_ascend() -> None:
    rng = np.random.default_rng(0)
    np.testing.assert_array_equal(some_of(5, 5, rng), [0, 1, 2, 3, 4])
    counts = np.zeros(10)
    for _ in range(3000):
        chosen = some_of(10, 3, rng)
        assert len(chosen) == 3
        assert (np.diff(chosen) > 0).all()
        counts[chosen] += 1
    # each of ten is one of three: 900 times in 3,000, with a standard deviation of 25
    np.testing.assert_allclose(counts, 900, atol=125)
