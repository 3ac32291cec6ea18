"""Seeded random networks all of whose inputs' axes are declared dynamic.

What is done with an extent is what exporters do: tables of positions are sliced to it, it is padded
to a multiple of a window, clipped, expanded to, split into heads; and constants meet it, so that it
is no longer free.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

#: Rows of a table of positions, and of one that the sequence outgrows.
ROWS, FEW = 60, 5


@dataclass
class Net:
    """A network under construction: (batch, step, channel) flows through it.

    Attributes:
        rng: draws everything.
        channels: channels of the flow.
        flow: the tensor that has come out so far.
        inputs: input -> names of its axes.
        blocks: what it is made of.
    """

    rng: np.random.Generator
    channels: int
    flow: str = "x"
    inputs: dict[str, list[str]] = field(default_factory=dict)
    nodes: list[NodeProto] = field(default_factory=list)
    weights: dict[str, NDArray[np.generic]] = field(default_factory=dict)
    blocks: list[str] = field(default_factory=list)
    steps: int | None = None

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], f"n_{name}", **attributes))
        return name

    def weight(self, *shape: int) -> str:
        name = f"w{len(self.weights)}"
        self.weights[name] = self.rng.choice([-2.0, -1.0, 1.0, 2.0], shape).astype(np.float32)
        return name

    def numbers(self, *values: int) -> str:
        name = f"w{len(self.weights)}"
        self.weights[name] = np.array(values, np.int64)
        return name

    def extent(self, tensor: str, dim: int) -> str:
        return self.op("Gather", self.op("Shape", tensor), self.numbers(dim))

    def add(self, other: str) -> None:
        self.flow = self.op("Add", self.flow, other)


def linear(net: Net) -> None:
    width = int(net.rng.integers(5, 9))
    made = net.op("MatMul", net.flow, net.weight(net.channels, width))
    net.flow = net.op("Relu", net.op("Add", made, net.weight(width)))
    net.channels = width


def positions(net: Net) -> None:
    """The first rows of a table, as many as there are steps."""
    stop = net.extent(net.flow, 1)
    net.add(net.op("Slice", net.weight(ROWS, net.channels), net.numbers(0), stop, net.numbers(0)))


def positions_behind_a_past(net: Net) -> None:
    """The rows of a table behind those that were read before; the mask spans past and present."""
    past, mask = f"past{len(net.inputs)}", f"mask{len(net.inputs)}"
    net.inputs[past] = ["B", f"P{past}", "C"]
    net.inputs[mask] = ["B", f"T{past}"]
    start, steps = net.extent(past, 1), net.extent(net.flow, 1)
    stop = net.op("Add", start, steps)
    net.add(net.op("Slice", net.weight(ROWS, net.channels), start, stop, net.numbers(0)))
    whole = net.op("Concat", net.op("MatMul", past, net.weight(3, net.channels)), net.flow, axis=1)
    masked = net.op("Mul", whole, net.op("Unsqueeze", mask, net.numbers(2)))
    net.add(net.op("ReduceSum", masked, net.numbers(1)))


def scaler(net: Net) -> None:
    """A constant for each channel: what meets it has as many."""
    net.flow = net.op("Mul", net.flow, net.weight(net.channels))


def mixer(net: Net) -> None:
    """Steps are mixed by weights: there is one number of them."""
    steps = net.steps or int(net.rng.integers(6, 12))
    net.steps = steps
    turned = net.op("Transpose", net.flow, perm=[0, 2, 1])
    inner = net.op("Relu", net.op("MatMul", turned, net.weight(steps, 7)))
    net.add(net.op("Transpose", net.op("MatMul", inner, net.weight(7, steps)), perm=[0, 2, 1]))


def windows(net: Net) -> None:
    """Steps are padded to whole windows, and what is padded is cut off again."""
    size = int(net.rng.choice([3, 4, 16]))
    steps = net.extent(net.flow, 1)
    left = net.op("Mod", steps, net.numbers(size))
    pad = net.op("Mod", net.op("Sub", net.numbers(size), left), net.numbers(size))
    pads = net.op("Concat", net.numbers(0, 0, 0, 0), pad, net.numbers(0), axis=0)
    padded = net.op("Pad", net.flow, pads)
    shape = net.numbers(0, -1, size, net.channels)
    parts = net.op("Reshape", padded, shape)
    sums = net.op("Add", parts, net.op("ReduceSum", parts, net.numbers(2)))
    whole = net.op("Reshape", sums, net.numbers(0, -1, net.channels))
    net.flow = net.op("Slice", whole, net.numbers(0), steps, net.numbers(1))


def gate(net: Net) -> None:
    """Another input is multiplied with the flow, each of its axes under a name of its own."""
    name = f"gate{len(net.inputs)}"
    net.inputs[name] = ["B", f"S{name}", f"G{name}"]
    net.flow = net.op("Mul", net.flow, name)


def heads(net: Net) -> None:
    """Channels are split into heads by shape arithmetic, and merged again."""
    wide = net.op("MatMul", net.flow, net.weight(net.channels, 8))
    batch, steps = net.extent(net.flow, 0), net.extent(net.flow, 1)
    shape = net.op("Concat", batch, steps, net.numbers(2, 4), axis=0)
    split = net.op("Transpose", net.op("Reshape", wide, shape), perm=[0, 2, 1, 3])
    scores = net.op("MatMul", split, net.op("Transpose", split, perm=[0, 1, 3, 2]))
    mixed = net.op("Transpose", net.op("MatMul", scores, split), perm=[0, 2, 1, 3])
    merged = net.op("Reshape", mixed, net.op("Concat", batch, steps, net.numbers(8), axis=0))
    net.flow, net.channels = net.op("Tanh", merged), 8


def clipped(net: Net) -> None:
    """A small table, of which a long sequence reads all rows, and a short one does not."""
    rows = net.op("Min", net.extent(net.flow, 1), net.numbers(FEW))
    table = net.op("Slice", net.weight(FEW, net.channels), net.numbers(0), rows, net.numbers(0))
    net.add(net.op("ReduceSum", table, net.numbers(0)))


def counted(net: Net) -> None:
    """The number of windows, rounded up, scales the flow."""
    more = net.op("Add", net.extent(net.flow, 1), net.numbers(15))
    count = net.op("Div", more, net.numbers(16))
    net.flow = net.op("Mul", net.flow, net.op("Cast", count, to=TensorProto.FLOAT))


def expanded(net: Net) -> None:
    """A row of weights is spread over all steps."""
    net.add(net.op("Expand", net.weight(1, 1, net.channels), net.op("Shape", net.flow)))


BLOCKS: tuple[Callable[[Net], None], ...] = (
    positions,
    positions_behind_a_past,
    scaler,
    mixer,
    windows,
    gate,
    heads,
    clipped,
    counted,
    expanded,
)


def network(seed: int) -> tuple[ModelProto, tuple[str, ...]]:
    """The model of a seed, and the names of what it is made of; every block in turn is in one."""
    rng = np.random.default_rng([seed, 23])
    net = Net(rng, int(rng.integers(3, 7)))
    net.inputs["x"] = ["B", "S", "F"]
    chosen = [BLOCKS[seed % len(BLOCKS)]]
    chosen += [BLOCKS[int(k)] for k in rng.integers(len(BLOCKS), size=int(rng.integers(1, 4)))]
    if rng.random() < 0.5:
        net.flow = net.op("Add", net.flow, net.weight(net.channels))  # the input meets a constant
    linear(net)
    for block in chosen:
        block(net)
        net.blocks.append(block.__name__)
        linear(net)
        net.flow = net.op("Tanh", net.flow)
    net.flow = net.op("MatMul", net.flow, net.weight(net.channels, 3))
    infos = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, axes)
        for name, axes in net.inputs.items()
    ]
    last = helper.make_tensor_value_info(net.flow, TensorProto.FLOAT, ["B", "S_out", 3])
    stored = [numpy_helper.from_array(v, n) for n, v in net.weights.items()]
    graph = helper.make_graph(net.nodes, "net", infos, [last], stored)
    opsets = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    return model, tuple(net.blocks)
