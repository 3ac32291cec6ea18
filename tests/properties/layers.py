"""Layers and activations of which the families are made, for tensors of every rank."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from onnx import TensorProto

from tests.properties.draft import Draft, Flow


def width(d: Draft) -> int:
    """How many channels a layer makes."""
    return int(d.pick([3, 4, 4, 5, 6, 6, 8]))


def linear(d: Draft, flow: Flow, out: int) -> Flow:
    """A layer of any kind that keeps everything but the number of channels."""
    if flow.rank == 4:
        return conv(d, flow, out, kernel=d.pick([1, 1, 3]))
    return dense(d, flow, out)


def conv(
    d: Draft,
    flow: Flow,
    out: int,
    *,
    kernel: int = 1,
    stride: int = 1,
    group: int = 1,
    same: bool = True,
) -> Flow:
    """Conv, with or without bias, padded so that only the stride changes the size."""
    flow = d.calm(flow)
    weight, gain = d.weight((out, flow.channels // group, kernel, kernel), (1, 2, 3), levels=True)
    inputs, bound, bits = [flow.name, weight], flow.bound * gain, flow.bits
    if d.chance(0.5):
        inputs.append(d.constant(d.numbers((out,)), "bias"))
        bound += 2.0
    pad, step = (kernel // 2 if same else 0), 1
    attributes: dict[str, Any] = {"pads": [pad] * 4}
    if kernel == 3 and pad and stride == 1 and d.chance(0.2):
        attributes, pad, step = {"pads": [2] * 4, "dilations": [2, 2]}, 2, 2
    if stride == 1 and pad == kernel // 2 and same and d.chance(0.15):
        attributes = {"auto_pad": "SAME_UPPER"}
    if stride > 1 or d.chance(0.3):
        attributes["strides"] = [stride, stride]
    if group > 1 or d.chance(0.3):
        attributes["group"] = group
    if d.chance(0.5):
        attributes["kernel_shape"] = [kernel, kernel]
    reach = step * (kernel - 1) + 1
    sides = [(side + 2 * pad - reach) // stride + 1 for side in flow.shape[2:]]
    name = d.node("Conv", inputs, **attributes)
    return d.follow(flow, name, shape=(flow.shape[0], out, *sides), bound=bound, bits=bits)


def conv_transpose(d: Draft, flow: Flow, out: int, *, group: int = 1) -> Flow:
    """ConvTranspose that doubles the image or leaves it as it is."""
    flow = d.calm(flow)
    kernel, stride = d.pick([(2, 2), (1, 1), (3, 1)])
    array = d.numbers((flow.channels, out // group, kernel, kernel), flow.channels**-0.5)
    bound = flow.bound * float(np.abs(array).sum(axis=(0, 2, 3)).max())
    inputs = [flow.name, d.stored(array, levels=True)]
    if d.chance(0.5):
        inputs.append(d.constant(d.numbers((out,)), "bias"))
        bound += 2.0
    pad = 1 if kernel == 3 else 0
    name = d.node("ConvTranspose", inputs, strides=[stride, stride], pads=[pad] * 4, group=group)
    sides = [side * stride for side in flow.shape[2:]]
    return d.follow(flow, name, shape=(flow.shape[0], out, *sides), bound=bound)


def dense(d: Draft, flow: Flow, out: int) -> Flow:
    """Gemm, MatMul or Einsum, the weight on either side."""
    flow = d.calm(flow)
    ways = ["matmul", "einsum", "left"] + ["gemm", "gemm", "turned"] * (flow.rank == 2)
    way, c = d.pick(ways), flow.channels
    gain = 1.0
    if way in ("gemm", "turned"):
        return _gemm(d, flow, out, turned=way == "turned")
    if way == "left":
        weight, gain = d.weight((out, c), (1,))
        back = [0, 2, 1] if flow.rank == 3 else [1, 0]
        name = d.node("Transpose", [flow.name], perm=back)
        name = d.node("Transpose", [d.node("MatMul", [weight, name])], perm=back)
    else:
        weight, gain = d.weight((c, out), (0,))
        if way == "einsum" and d.opset >= 12:
            letters = "nc,co->no" if flow.rank == 2 else "ntc,co->nto"
            name = d.node("Einsum", [flow.name, weight], equation=letters)
        else:
            name = d.node("MatMul", [flow.name, weight])
    after = d.follow(flow, name, shape=flow.with_channels(out), bound=flow.bound * gain)
    if d.chance(0.6):
        bias, largest = d.vector(after)
        inputs = [after.name, bias] if d.chance(0.5) else [bias, after.name]
        after = d.follow(after, d.node("Add", inputs), bound=after.bound + largest)
    return after


def _gemm(d: Draft, flow: Flow, out: int, *, turned: bool) -> Flow:
    transposed = d.chance(0.5)
    shape = (out, flow.channels) if transposed else (flow.channels, out)
    weight, gain = d.weight(shape, (1 if transposed else 0,))
    alpha, beta = d.pick([(1.0, 1.0), (1.0, 1.0), (2.0, 0.5), (0.5, 2.0)])
    name = d.node("Transpose", [flow.name], perm=[1, 0]) if turned else flow.name
    inputs, bound = [name, weight], flow.bound * gain * alpha
    if d.chance(0.6):
        bias = d.numbers((out,)).reshape(d.pick([(out,), (1, out)]))
        inputs.append(d.constant(bias, "bias"))
        bound += 2.0 * beta
    attributes = {"transB": int(transposed), "transA": int(turned)}
    name = d.node("Gemm", inputs, alpha=alpha, beta=beta, **attributes)
    bits = flow.bits + (1 if alpha < 1 or beta < 1 else 0)
    return d.follow(flow, name, shape=(flow.shape[0], out), bound=bound, bits=bits)


def activation(d: Draft, flow: Flow, *, at_zero: bool | None = None) -> Flow:
    """Something elementwise; `at_zero`: whether it maps 0 to 0 (None: either)."""
    at_zero = d.chance(0.6) if at_zero is None else at_zero
    if not d.integer:
        return _smooth(d, flow, at_zero)
    flow = d.calm(flow)
    return _whole_through_zero(d, flow) if at_zero else _whole_shifted(d, flow)


def _whole_through_zero(d: Draft, flow: Flow) -> Flow:
    way = d.pick(["Relu", "Relu", "Abs", "Neg", "Sign", "Dropout", "LeakyRelu", "Clip"])
    if way == "LeakyRelu":
        return d.follow(flow, d.node(way, [flow.name], alpha=0.5), bits=flow.bits + 1)
    if way == "Clip":
        name = d.node(way, [flow.name, d.scalar(-3.0), d.scalar(3.0)])
        return d.follow(flow, name, bound=3.0)
    name = d.node(way, [flow.name])
    return d.follow(flow, name, bound=1.0 if way == "Sign" else flow.bound)


def _whole_shifted(d: Draft, flow: Flow) -> Flow:
    way = d.pick(["clip", "less", "add", "hard", "where", "equal"])
    if way == "clip":
        name = d.node("Clip", [flow.name, d.scalar(1.0), d.scalar(5.0)])
        return d.follow(flow, name, bound=5.0)
    if way == "less":
        name = d.node("Sub", [d.scalar(3.0), flow.name])
        return d.follow(flow, name, bound=flow.bound + 3.0)
    if way == "hard":
        name = d.node("HardSigmoid", [flow.name], alpha=0.25, beta=0.5)
        return d.follow(flow, name, bound=1.0, bits=flow.bits + 2)
    if way == "where":
        mask = d.node("Greater", [flow.name, d.scalar(0.0)])
        name = d.node("Where", [mask, flow.name, d.scalar(2.0)])
        return d.follow(flow, name, bound=max(flow.bound, 2.0))
    if way == "equal":
        mask = d.node("Less", [flow.name, d.scalar(1.0)])
        return d.follow(flow, d.node("Cast", [mask], to=TensorProto.FLOAT), bound=1.0, bits=0)
    return d.follow(flow, d.node("Add", [flow.name, d.scalar(1.0)]), bound=flow.bound + 1.0)


def _smooth(d: Draft, flow: Flow, at_zero: bool) -> Flow:
    if not at_zero:
        way = d.pick(["Sigmoid", "Softplus", "Cos", "HardSigmoid", "Exp"])
        name = d.node("Tanh", [flow.name]) if way == "Exp" else flow.name
        return replace(flow, name=d.node(way, [name]))
    ways = ["Relu", "LeakyRelu", "Tanh", "Elu", "Softsign", "silu", "gelu"]
    ways += ["HardSwish"] * (d.opset >= 14) + ["Mish"] * (d.opset >= 18)
    ways += ["Gelu"] * (d.opset >= 20)
    way = d.pick(ways)
    if way == "silu":
        gate = d.node("Sigmoid", [flow.name])
        return replace(flow, name=d.node("Mul", [flow.name, gate]))
    if way == "gelu":
        inner = d.node("Erf", [d.node("Div", [flow.name, d.scalar(2.0**0.5)])])
        half = d.node("Mul", [flow.name, d.scalar(0.5)])
        return replace(flow, name=d.node("Mul", [half, d.node("Add", [inner, d.scalar(1.0)])]))
    return replace(flow, name=d.node(way, [flow.name]))


def product(d: Draft, a: Flow, b: Flow) -> Flow:
    """The product of two tensors, of which b may have extents of 1."""
    a, b = d.calm(a, 8.0, 1), d.calm(b, 8.0, 1)
    name = d.node("Mul", [a.name, b.name] if d.chance(0.5) else [b.name, a.name])
    return d.follow(a, name, bound=a.bound * b.bound, bits=a.bits + b.bits)


def total(d: Draft, *flows: Flow) -> Flow:
    """The sum of tensors of one shape."""
    order = [flows[int(k)].name for k in d.rng.permutation(len(flows))]
    op = "Sum" if len(flows) > 2 or d.chance(0.1) else "Add"
    bound = sum(f.bound for f in flows)
    return d.follow(flows[0], d.node(op, order), bound=bound, bits=max(f.bits for f in flows))


def joined(d: Draft, *flows: Flow) -> Flow:
    """The channels of several tensors side by side."""
    axis = d.pick([flows[0].axis, flows[0].axis - flows[0].rank])
    name = d.node("Concat", [f.name for f in flows], axis=axis)
    shape = flows[0].with_channels(sum(f.channels for f in flows))
    return d.follow(
        flows[0],
        name,
        shape=shape,
        bound=max(f.bound for f in flows),
        bits=max(f.bits for f in flows),
    )


def parted(d: Draft, flow: Flow, sizes: list[int]) -> list[Flow]:
    """The channels of a tensor in parts."""
    names = d.split(flow.name, sizes, d.pick([flow.axis, flow.axis - flow.rank]))
    return [
        d.follow(flow, name, shape=flow.with_channels(size))
        for name, size in zip(names, sizes, strict=True)
    ]
