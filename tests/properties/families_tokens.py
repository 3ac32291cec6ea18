"""Families for tokens (n, t, c) and vectors (n, c)."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.properties.draft import Draft, Flow
from tests.properties.families import family
from tests.properties.families_image import normalised
from tests.properties.layers import (
    activation,
    dense,
    joined,
    linear,
    parted,
    product,
    total,
    width,
)


@family(3)
def attention(d: Draft, flow: Flow) -> Flow:
    """Multi-head attention, decomposed: separate, fused or shared queries, keys and values."""
    heads, size = d.pick([(2, 2), (2, 3), (3, 2), (4, 2)])
    flow = d.calm(flow, 4.0, 0)
    q, k, v = _queries(d, flow, heads, size)
    scores = d.node("MatMul", [q.name, d.node("Transpose", [k.name], perm=[0, 1, 3, 2])])
    shape = (*q.shape[:3], k.shape[2])
    bound = q.bound * k.bound * size
    table = d.follow(q, scores, shape=shape, bound=bound, bits=q.bits + k.bits)
    scale = d.scalar(0.5) if d.integer else d.scalar(size**-0.5)
    table = d.follow(table, d.node("Mul", [table.name, scale]), bits=table.bits + 1)
    if d.chance(0.3):  # a table of relative positions for each head
        t = flow.shape[1]
        near = d.constant(d.numbers((d.pick([1, heads]), t, t)), "near")
        table = d.follow(table, d.node("Add", [table.name, near]), bound=table.bound + 2)
    if d.integer:
        table = d.calm(d.follow(table, d.node("Floor", [table.name]), bits=0), 4.0, 0)
    else:
        table = d.follow(table, d.node("Softmax", [table.name], axis=3 if d.opset < 13 else -1))
    bound = table.bound * v.bound * v.shape[2]
    mixed = d.follow(v, d.node("MatMul", [table.name, v.name]), shape=q.shape, bound=bound)
    name = d.node("Transpose", [mixed.name], perm=[0, 2, 1, 3])
    shape = (*flow.shape[:2], heads * size)
    mixed = d.follow(mixed, d.reshape(name, shape, source=flow.name), shape=shape)
    return total(d, flow, dense(d, mixed, flow.channels))


def _queries(d: Draft, flow: Flow, heads: int, size: int) -> tuple[Flow, Flow, Flow]:
    """Queries, keys and values as (n, heads, t, size)."""
    n, t, _ = flow.shape
    way, whole = d.pick(["apart", "split", "stacked", "shared"]), heads * size
    if way == "stacked":
        fused = d.calm(dense(d, flow, 3 * whole), 8.0, 0)
        name = d.reshape(fused.name, (n, t, 3, heads, size))
        name = d.node("Transpose", [name], perm=[2, 0, 3, 1, 4])
        parts = [d.node("Gather", [name, d.constant(np.array(k))], axis=0) for k in range(3)]
        flows = [d.follow(fused, part, shape=(n, heads, t, size)) for part in parts]
        return flows[0], flows[1], flows[2]
    if way == "split":
        fused = d.calm(dense(d, flow, 3 * whole), 8.0, 0)
        q, k, v = parted(d, fused, [whole] * 3)
        return tuple(_by_head(d, x, heads) for x in (q, k, v))  # type: ignore[return-value]
    few = heads // 2 if way == "shared" and heads % 2 == 0 else heads
    q = _by_head(d, d.calm(dense(d, flow, whole), 8.0, 0), heads)
    k, v = (_by_head(d, d.calm(dense(d, flow, few * size), 8.0, 0), few) for _ in range(2))
    if few == heads:
        return q, k, v
    return q, _repeated(d, k, heads // few), _repeated(d, v, heads // few)


def _by_head(d: Draft, flow: Flow, heads: int) -> Flow:
    n, t, c = flow.shape
    name = d.reshape(flow.name, (n, t, heads, c // heads))
    name = d.node("Transpose", [name], perm=[0, 2, 1, 3])
    return d.follow(flow, name, shape=(n, heads, t, c // heads))


def _repeated(d: Draft, flow: Flow, times: int) -> Flow:
    """Grouped queries: every head of the keys serves several heads of the queries."""
    n, few, t, size = flow.shape
    name = d.unsqueeze(flow.name, [2])
    name = d.node("Expand", [name, d.ints(1, few, times, t, size)])
    shape = (n, few * times, t, size)
    return d.follow(flow, d.reshape(name, shape, source=flow.name), shape=shape)


@family(3)
def mlp(d: Draft, flow: Flow) -> Flow:
    """A transformer's second half: wide inside, gated or not, a sum around it."""
    flow, wide = d.calm(flow), d.pick([6, 8])
    if d.chance(0.4):
        gate, up = activation(d, dense(d, flow, wide)), dense(d, flow, wide)
        inner = product(d, up, gate)
    else:
        inner = activation(d, dense(d, flow, wide))
    return total(d, flow, dense(d, inner, flow.channels))


@family(3, modes=("float",), opset=17)
def transformer_block(d: Draft, flow: Flow) -> Flow:
    """LayerNormalization before attention and MLP, sums around both."""
    flow = mlp(d, attention(d, _layer_norm(d, flow)))
    return _layer_norm(d, flow)


def _layer_norm(d: Draft, flow: Flow) -> Flow:
    vectors = [d.constant(d.numbers((flow.channels,))) for _ in range(2)]
    return d.follow(flow, d.node("LayerNormalization", [flow.name, *vectors], axis=-1))


@family(3)
def recurrent(d: Draft, flow: Flow) -> Flow:
    """LSTM, GRU and RNN, one way or both; in integer mode with gates that are 0 or 1."""
    op = d.pick(["LSTM", "GRU", "RNN"])
    gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[op]
    ways, units = d.pick([1, 1, 2]), d.pick([3, 4, 5])
    flow = d.calm(flow, 4.0, 0)
    time = d.node("Transpose", [flow.name], perm=[1, 0, 2])
    rows = gates * units
    inputs = [time, d.constant(d.numbers((ways, rows, flow.channels), 0.5), "w")]
    inputs.append(d.constant(d.numbers((ways, rows, units), 0.5), "r"))
    if d.chance(0.6):
        inputs.append(d.constant(d.numbers((ways, 2 * rows)), "b"))
    if op == "LSTM" and d.chance(0.3):
        inputs += [""] * (7 - len(inputs))
        inputs.append(d.constant(d.numbers((ways, 3 * units)), "p"))
    attributes = _exact_gates(op, ways) if d.integer else {}
    if op == "GRU" and d.chance(0.5):
        attributes["linear_before_reset"] = 1
    attributes["direction"] = "bidirectional" if ways == 2 else d.pick(["forward", "reverse"])
    outputs = d.node(op, inputs, 2, hidden_size=units, **attributes)
    return _states(d, flow, outputs, ways, units)


def _exact_gates(op: str, ways: int) -> dict[str, Any]:
    """HardSigmoid with slope 1 and offset 0 maps integers to 0 and 1."""
    count = {"LSTM": 3, "GRU": 2, "RNN": 1}[op] * ways
    return {
        "activations": ["HardSigmoid"] * count,
        "activation_alpha": [1.0] * count,
        "activation_beta": [0.0] * count,
    }


def _states(d: Draft, flow: Flow, outputs: list[str], ways: int, units: int) -> Flow:
    """All states (n, t, ways x units), or the last one of each way (n, units)."""
    n, t, _ = flow.shape
    bound, bits = float(t + 1), 0
    if d.chance(0.3):
        name = d.node("Gather", [outputs[1], d.constant(np.array(d.pick([0, -1])))], axis=0)
        return d.follow(flow, name, shape=(n, units), bound=bound, bits=bits)
    if ways == 1:
        name = d.node("Transpose", [d.squeeze(outputs[0], [1])], perm=[1, 0, 2])
    else:
        name = d.node("Transpose", [outputs[0]], perm=[2, 0, 1, 3])
        name = d.reshape(name, (n, t, ways * units))
    return d.follow(flow, name, shape=(n, t, ways * units), bound=bound, bits=bits)


@family(3)
def window_partition(d: Draft, flow: Flow) -> Flow:
    """Swin: tokens as windows on an axis of their own, a layer, and back."""
    flow = d.calm(linear(d, flow, width(d)))
    n, t, c = flow.shape
    if t % 4:
        return flow
    side = t // 2
    name = d.reshape(flow.name, (n, 2, side // 2, 2, c))
    name = d.node("Transpose", [name], perm=[0, 1, 3, 2, 4])
    out = width(d)
    weight, gain = d.weight((c, out), (0,))
    name = d.node("MatMul", [name, weight])
    name = d.node("Transpose", [name], perm=[0, 1, 3, 2, 4])
    name = d.reshape(name, (n, t, out), source=flow.name)
    return d.follow(flow, name, shape=(n, t, out), bound=flow.bound * gain)


@family(3)
def patch_merging(d: Draft, flow: Flow) -> Flow:
    """Swin: every other token beside the ones between, then a layer."""
    flow = d.calm(linear(d, flow, width(d)))
    if flow.shape[1] % 2:
        return flow
    shape = (flow.shape[0], flow.shape[1] // 2, flow.channels)
    parts = [d.follow(flow, d.slice(flow.name, 1, k, 2**31 - 1, 2), shape=shape) for k in (0, 1)]
    return linear(d, joined(d, *parts), width(d))


@family(3)
def one_token(d: Draft, flow: Flow) -> Flow:
    """Tokens to vectors: the first, the last, or the sum of all."""
    flow = d.calm(activation(d, linear(d, flow, width(d))))
    way, shape = d.pick(["gather", "slice", "sum", "max"]), (flow.shape[0], flow.channels)
    if way == "gather":
        name = d.node("Gather", [flow.name, d.constant(np.array(d.pick([0, -1])))], axis=1)
    elif way == "slice":
        name = d.squeeze(d.slice(flow.name, 1, -1, 2**31 - 1), [1])
    elif way == "max":
        name = d.reduce("ReduceMax", flow.name, [1], 0)
    else:
        name = d.reduce("ReduceSum", flow.name, [1], 0)
    bound = flow.bound * (flow.shape[1] if way == "sum" else 1)
    return d.follow(flow, name, shape=shape, bound=bound)


@family(3)
def flatten_tokens(d: Draft, flow: Flow) -> Flow:
    """Tokens to vectors: all tokens side by side."""
    flow = linear(d, flow, d.pick([2, 3]))
    n, t, c = flow.shape
    turned = d.chance(0.4)
    name = d.node("Transpose", [flow.name], perm=[0, 2, 1]) if turned else flow.name
    return d.follow(flow, d.reshape(name, (n, t * c)), shape=(n, t * c))


@family(3)
def to_image(d: Draft, flow: Flow) -> Flow:
    """Tokens to images: back from a transformer to convolutions."""
    flow = d.calm(linear(d, flow, width(d)))
    n, t, c = flow.shape
    side = int(t**0.5)
    if side * side != t:
        return flow
    name = d.node("Transpose", [flow.name], perm=[0, 2, 1])
    name = d.reshape(name, (n, c, side, side))
    return d.follow(flow, name, shape=(n, c, side, side))


@family(3)
def conv_over_time(d: Draft, flow: Flow) -> Flow:
    """A convolution over time, 1-D."""
    flow = d.calm(flow)
    n, t, c = flow.shape
    out = width(d)
    weight, gain = d.weight((out, c, 3), (1, 2))
    name = d.node("Transpose", [flow.name], perm=[0, 2, 1])
    name = d.node("Conv", [name, weight], pads=[1, 1])
    name = d.node("Transpose", [name], perm=[0, 2, 1])
    return d.follow(flow, name, shape=(n, t, out), bound=flow.bound * gain)


@family(2)
def vector_norm(d: Draft, flow: Flow) -> Flow:
    """Gemm, BatchNormalization, activation."""
    return activation(d, normalised(d, d.calm(dense(d, flow, width(d)))))


@family(2)
def vector_to_image(d: Draft, flow: Flow) -> Flow:
    """A generator's first layer: four pixels for each channel."""
    out = d.pick([2, 3])
    flow = dense(d, flow, 4 * out)
    n = flow.shape[0]
    if d.chance(0.5):
        name = d.reshape(flow.name, (n, out, 2, 2))
    else:
        name = d.node("Transpose", [d.reshape(flow.name, (n, 2, 2, out))], perm=[0, 3, 1, 2])
    return d.follow(flow, name, shape=(n, out, 2, 2))


@family(2)
def vector_to_tokens(d: Draft, flow: Flow) -> Flow:
    """A vector as a few tokens."""
    size = d.pick([3, 4])
    flow = dense(d, flow, 4 * size)
    shape = (flow.shape[0], 4, size)
    return d.follow(flow, d.reshape(flow.name, shape), shape=shape)


@family(2)
def outer_gate(d: Draft, flow: Flow) -> Flow:
    """A vector against another: a bilinear form, summed over one of the two."""
    size = d.pick([3, 4])
    a = d.calm(dense(d, flow, size), 8.0, 0)
    b = d.calm(dense(d, flow, 3 * size), 8.0, 0)
    table = d.reshape(b.name, (flow.shape[0], size, 3))
    name = d.node("MatMul", [d.unsqueeze(a.name, [1]), table])
    bound = a.bound * b.bound * size
    return d.follow(a, d.squeeze(name, [1]), shape=(flow.shape[0], 3), bound=bound)
