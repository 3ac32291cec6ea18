"""A ResNet-50 of seeded random weights: for time it does not matter what they are."""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

BLOCKS, WIDTHS, EXPANSION, CLASSES, SIDE = (3, 4, 6, 3), (64, 128, 256, 512), 4, 1000, 224


class _Writer:
    """Nodes and weights of a graph."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.weights: list[TensorProto] = []
        self.rng = np.random.default_rng(0)

    def conv(self, name: str, source: str, made: int, met: int, kernel: int, stride: int) -> str:
        """A convolution with a bias, as exporters fold batch normalisation into it."""
        spread = (2.0 / (met * kernel * kernel)) ** 0.5
        weight = spread * self.rng.standard_normal((made, met, kernel, kernel), np.float32)
        bias = 0.1 * self.rng.standard_normal(made, np.float32)
        self.weights += [
            numpy_helper.from_array(a, f"{name}.{n}")
            for a, n in ((weight, "weight"), (bias, "bias"))
        ]
        self.add(
            "Conv",
            [source, f"{name}.weight", f"{name}.bias"],
            name,
            kernel_shape=[kernel] * 2,
            strides=[stride] * 2,
            pads=[kernel // 2] * 4,
        )
        return name

    def add(self, op: str, sources: list[str], target: str, **attributes: object) -> str:
        """Any other node."""
        self.nodes.append(helper.make_node(op, sources, [target], name=target, **attributes))
        return target


def resnet50() -> ModelProto:
    """The network, for images (N, 3, 224, 224)."""
    w = _Writer()
    last = w.add("Relu", [w.conv("stem", "input", 64, 3, 7, 2)], "stem_relu")
    last = w.add("MaxPool", [last], "pool", kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    met = 64
    for stage, (count, width) in enumerate(zip(BLOCKS, WIDTHS, strict=True), 1):
        made = width * EXPANSION
        for block in range(count):
            name, stride = f"layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1
            a = w.add("Relu", [w.conv(f"{name}.a", last, width, met, 1, 1)], f"{name}.a_relu")
            b = w.add("Relu", [w.conv(f"{name}.b", a, width, width, 3, stride)], f"{name}.b_relu")
            c = w.conv(f"{name}.c", b, made, width, 1, 1)
            short = last if block else w.conv(f"{name}.short", last, made, met, 1, stride)
            last = w.add("Relu", [w.add("Add", [c, short], f"{name}.sum")], f"{name}.out")
            met = made
    pooled = w.add("Flatten", [w.add("GlobalAveragePool", [last], "mean")], "flat")
    weight = 0.02 * w.rng.standard_normal((CLASSES, met), np.float32)
    w.weights.append(numpy_helper.from_array(weight, "head.weight"))
    w.weights.append(numpy_helper.from_array(np.zeros(CLASSES, np.float32), "head.bias"))
    w.add("Gemm", [pooled, "head.weight", "head.bias"], "output", transB=1)
    images = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", 3, SIDE, SIDE])
    classes = helper.make_tensor_value_info("output", TensorProto.FLOAT, ["N", CLASSES])
    graph = helper.make_graph(w.nodes, "resnet50", [images], [classes], w.weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
