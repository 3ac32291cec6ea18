"""Families for tensors of every rank, and the registry of all families."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from onnx import TensorProto

from tests.properties.draft import Draft, Flow
from tests.properties.layers import (
    activation,
    joined,
    linear,
    parted,
    product,
    total,
    width,
)

Build = Callable[[Draft, Flow], Flow]


@dataclass(frozen=True)
class Family:
    """One structure that occurs in networks.

    Attributes:
        name: what the failing seed's message calls it.
        ranks: ranks of the tensors that it takes.
        build: adds it to a draft.
        modes: "integer", "float" or both.
        opset: the first operator set that has what it needs.
    """

    name: str
    ranks: tuple[int, ...]
    build: Build
    modes: tuple[str, ...]
    opset: int

    def fits(self, d: Draft, flow: Flow) -> bool:
        mode = "integer" if d.integer else "float"
        return flow.rank in self.ranks and mode in self.modes and d.opset >= self.opset


FAMILIES: list[Family] = []
BOTH = ("integer", "float")


def family(*ranks: int, modes: tuple[str, ...] = BOTH, opset: int = 11) -> Callable[[Build], Build]:
    """Register a builder."""

    def register(build: Build) -> Build:
        FAMILIES.append(Family(build.__name__, ranks, build, modes, opset))
        return build

    return register


@family(2, 3, 4)
def layer(d: Draft, flow: Flow) -> Flow:
    """A layer and an activation, half of them with f(0) != 0."""
    return activation(d, linear(d, flow, width(d)), at_zero=d.chance(0.5))


@family(2, 3, 4)
def residual(d: Draft, flow: Flow) -> Flow:
    """A sum with a body of two layers."""
    flow = d.calm(flow)
    body = linear(d, activation(d, linear(d, flow, width(d))), flow.channels)
    return activation(d, total(d, body, flow))


@family(2, 3, 4)
def projection(d: Draft, flow: Flow) -> Flow:
    """A sum of two branches that both begin with a layer."""
    out = width(d)
    body = linear(d, activation(d, linear(d, flow, width(d))), out)
    return total(d, body, linear(d, flow, out))


@family(2, 3, 4)
def dense_concat(d: Draft, flow: Flow) -> Flow:
    """DenseNet: everything so far goes on beside what is new."""
    flow = d.calm(flow)
    for _ in range(d.pick([1, 2])):
        fresh = activation(d, linear(d, flow, d.pick([2, 3])))
        flow = joined(d, *((flow, fresh) if d.chance(0.7) else (fresh, flow)))
    return flow


@family(2, 3, 4)
def branches_concat(d: Draft, flow: Flow) -> Flow:
    """Inception: branches of different width side by side, one of them perhaps twice."""
    flow = d.calm(flow)
    branches = [activation(d, linear(d, flow, width(d))) for _ in range(d.pick([2, 3]))]
    if d.chance(0.3):
        branches.append(branches[0])
    return joined(d, *branches)


@family(2, 3, 4)
def split_join(d: Draft, flow: Flow) -> Flow:
    """Channels in parts, each with its own activation, then side by side in another order."""
    sizes = d.pick([[4, 4], [2, 5], [3, 3, 3], [1, 2, 4], [2, 2, 2, 2]])
    parts = parted(d, d.calm(linear(d, flow, sum(sizes))), sizes)
    parts = [activation(d, p) if d.chance(0.7) else p for p in parts]
    return joined(d, *(parts[int(k)] for k in d.rng.permutation(len(parts))))


@family(2, 3, 4)
def split_partial(d: Draft, flow: Flow) -> Flow:
    """CSP, C2f: one part goes through layers, all are kept."""
    first, second = d.pick([(3, 3), (4, 2), (2, 4)])
    left, right = parted(d, d.calm(linear(d, flow, first + second)), [first, second])
    body = linear(d, activation(d, linear(d, right, width(d))), second)
    kept = [left, right, body] if d.chance(0.5) else [left, body]
    return joined(d, *kept)


@family(2, 3, 4)
def gated(d: Draft, flow: Flow) -> Flow:
    """GLU: one half times an activation of the other."""
    half = d.pick([3, 4, 5])
    left, right = parted(d, d.calm(linear(d, flow, 2 * half)), [half, half])
    return product(d, left, activation(d, right, at_zero=False))


@family(2, 3, 4)
def sliced(d: Draft, flow: Flow) -> Flow:
    """Parts of the channels by Slice, in steps and from the end, overlapping or not."""
    whole = d.calm(linear(d, flow, 8))
    parts = []
    for start, end, step in d.pick(
        [
            [(0, 4, 1), (4, 8, 1)],
            [(0, 8, 2), (1, 8, 2)],
            [(0, 5, 1), (3, 8, 1)],
            [(-3, 1000, 1), (0, -3, 1)],
            [(7, -9, -1), (0, 3, 1)],
        ]
    ):
        count = len(range(8)[start:end:step])
        name = d.slice(whole.name, whole.axis, start, end, step)
        part = d.follow(whole, name, shape=whole.with_channels(count))
        parts.append(activation(d, part) if d.chance(0.5) else part)
    if parts[0].channels == parts[1].channels and d.chance(0.5):
        return total(d, *parts)
    return joined(d, *parts)


@family(2, 3, 4)
def gathered(d: Draft, flow: Flow) -> Flow:
    """Channels picked by constant indices: a permutation, a choice, some of them twice."""
    whole = d.calm(linear(d, flow, 6))
    index = d.pick([[5, 3, 1, 0, 2, 4], [0, 2, 3], [-1, 0, 1], [1, 1, 4, 0], [2, 5, 2, 0, 1, 3]])
    kind = d.pick([np.int64, np.int32])
    indices = d.constant(np.array(index, dtype=kind), "index")
    name = d.node(
        "Gather", [whole.name, indices], axis=d.pick([whole.axis, whole.axis - whole.rank])
    )
    picked = d.follow(whole, name, shape=whole.with_channels(len(index)))
    return joined(d, whole, picked) if d.chance(0.3) else activation(d, picked)


@family(2, 3, 4)
def prelu(d: Draft, flow: Flow) -> Flow:
    """PRelu with a slope for each channel, or one for all."""
    flow = d.calm(linear(d, flow, width(d)))
    slopes = d.rng.choice(np.array([0.5, -1.0, 2.0, -0.5], dtype=np.float32), flow.channels)
    if d.chance(0.8):
        shape = (flow.channels, 1, 1) if flow.rank == 4 else (flow.channels,)
        slope = (
            d.stored(slopes.reshape(shape)) if not d.integer else d.constant(slopes.reshape(shape))
        )
    else:
        slope = d.constant(slopes[:1])
    name = d.node("PRelu", [flow.name, slope])
    return d.follow(flow, name, bound=2.0 * flow.bound, bits=flow.bits + 1)


@family(2, 3, 4)
def channel_arithmetic(d: Draft, flow: Flow) -> Flow:
    """A batch normalisation that is written out, with constants in many shapes."""
    flow = d.calm(linear(d, flow, width(d)))
    scale, largest = d.vector(flow)
    flow = d.follow(flow, d.node("Mul", [flow.name, scale]), bound=flow.bound * largest)
    shift, largest = d.vector(flow)
    name = d.node(d.pick(["Add", "Sub"]), [flow.name, shift])
    return activation(d, d.follow(flow, name, bound=flow.bound + largest))


@family(2, 3, 4)
def extremes(d: Draft, flow: Flow) -> Flow:
    """The larger or smaller of two branches and a constant (maxout)."""
    out = width(d)
    a, b = d.calm(linear(d, flow, out)), d.calm(linear(d, flow, out))
    limit, largest = d.vector(a)
    name = d.node(d.pick(["Max", "Min"]), [a.name, b.name, limit])
    return d.follow(a, name, bound=max(a.bound, b.bound, largest), bits=max(a.bits, b.bits))


@family(2, 3, 4, modes=("integer",))
def chosen(d: Draft, flow: Flow) -> Flow:
    """One branch decides which of two others goes on."""
    out = width(d)
    a, b, c = (d.calm(linear(d, flow, out)) for _ in range(3))
    limit, _ = d.vector(c)
    mask = d.node(d.pick(["Greater", "Less"]), [c.name, limit])
    mask = d.node("Not", [mask]) if d.chance(0.3) else mask
    name = d.node("Where", [mask, a.name, b.name])
    return d.follow(a, name, bound=max(a.bound, b.bound), bits=max(a.bits, b.bits))


@family(2, 3, 4)
def tied_layers(d: Draft, flow: Flow) -> Flow:
    """One weight used twice: in a row, or by two branches."""
    size = d.pick([3, 4, 5])
    flow = activation(d, linear(d, flow, size))
    square = d.numbers((size, size) + (1, 1) * (flow.rank == 4), size**-0.5)
    gain = float(max(np.abs(square).sum(axis=0).max(), np.abs(square).sum(axis=1).max()))
    weight = d.stored(square)
    bias = d.constant(d.numbers((size,)), "bias")

    def apply(x: Flow) -> Flow:
        x = d.calm(x)
        if x.rank == 4:
            return d.follow(x, d.node("Conv", [x.name, weight, bias]), bound=x.bound * gain + 2)
        name = d.node("Add", [d.node("MatMul", [x.name, weight]), bias])
        return d.follow(x, name, bound=x.bound * gain + 2)

    if d.chance(0.5):
        return apply(activation(d, apply(flow)))
    other = activation(d, linear(d, flow, size))
    a, b = apply(flow), apply(other)
    return total(d, a, b) if d.chance(0.5) else joined(d, a, b)


@family(2, 3, 4)
def spread_constant(d: Draft, flow: Flow) -> Flow:
    """A constant with channels, expanded or tiled to the shape of the data, beside or onto it."""
    flow = d.calm(linear(d, flow, width(d)))
    seed = d.numbers((1,) * (flow.rank - 1) + (flow.channels,))
    seed = np.moveaxis(seed, -1, flow.axis)
    if d.chance(0.5):
        name = d.node("Expand", [d.constant(seed), d.node("Shape", [flow.name])])
    else:
        times = [1 if dim == flow.axis else e for dim, e in enumerate(flow.shape)]
        if d.symbolic:
            times[0] = 1
        name = d.node("Tile", [d.constant(seed), d.ints(*times)])
    return total(d, flow, d.follow(flow, name, bound=2.0, bits=0))


@family(2, 3, 4)
def padded_channels(d: Draft, flow: Flow) -> Flow:
    """Channels of zeros, or of another number, put around those that are there."""
    flow = d.calm(linear(d, flow, width(d)))
    before, after = d.pick([(0, 2), (1, 1), (2, 0), (0, 3)])
    pads = np.zeros((2, flow.rank), dtype=np.int64)
    pads[:, flow.axis] = before, after
    inputs, value = [flow.name, d.ints(*pads.reshape(-1).tolist())], d.pick([0.0, 2.0])
    if value or d.chance(0.5):
        inputs.append(d.scalar(value))
    name = d.node("Pad", inputs, mode="constant")
    shape = flow.with_channels(flow.channels + before + after)
    padded = d.follow(flow, name, shape=shape, bound=max(flow.bound, value))
    if d.chance(0.6):
        return total(d, padded, linear(d, flow, padded.channels))
    return padded


@family(2, 3, 4)
def summed_channels(d: Draft, flow: Flow) -> Flow:
    """A sum, mean or maximum over the channels as a gate for all of them."""
    flow = d.calm(linear(d, flow, 4))
    op = d.pick(["ReduceSum", "ReduceMean", "ReduceMax"])
    name = d.reduce(op, flow.name, [d.pick([flow.axis, flow.axis - flow.rank])], 1)
    bound = flow.bound * (4 if op == "ReduceSum" else 1)
    bits = flow.bits + (2 if op == "ReduceMean" else 0)
    gate = d.follow(flow, name, shape=flow.with_channels(1), bound=bound, bits=bits)
    return product(d, flow, activation(d, gate, at_zero=False))


@family(2, 3, 4)
def there_and_back(d: Draft, flow: Flow) -> Flow:
    """Operators that only move: Identity, Cast, Transpose and back, Unsqueeze and Squeeze."""
    flow = d.calm(linear(d, flow, width(d)))
    perm = [int(p) for p in d.rng.permutation(flow.rank)]
    name = d.node("Transpose", [flow.name], perm=perm)
    name = d.node(d.pick(["Relu", "Identity"]), [name])
    if d.chance(0.5):
        name = d.squeeze(d.unsqueeze(name, [1]), [1])
    name = d.node("Transpose", [name], perm=[int(p) for p in np.argsort(perm)])
    name = d.node("Cast", [d.node("Cast", [name], to=TensorProto.DOUBLE)], to=TensorProto.FLOAT)
    return d.follow(flow, name)


@family(2, 3, 4, modes=("float",), opset=17)
def layer_norm(d: Draft, flow: Flow) -> Flow:
    """LayerNormalization over the channels, which keeps them all."""
    flow = linear(d, flow, width(d))
    size = flow.channels
    scale, shift = d.constant(d.numbers((size,))), d.constant(d.numbers((size,)))
    if flow.rank != 4:
        name = d.node("LayerNormalization", [flow.name, scale, shift], axis=-1)
        return d.follow(flow, name)
    name = d.node("Transpose", [flow.name], perm=[0, 2, 3, 1])
    name = d.node("LayerNormalization", [name, scale, shift], axis=-1)
    return d.follow(flow, d.node("Transpose", [name], perm=[0, 3, 1, 2]))


@family(2, 3, 4, modes=("float",))
def written_norm(d: Draft, flow: Flow) -> Flow:
    """The same, written out in reductions."""
    flow = linear(d, flow, width(d))
    mean = d.reduce("ReduceMean", flow.name, [flow.axis], 1)
    away = d.node("Sub", [flow.name, mean])
    squares = d.node("Pow", [away, d.scalar(2.0)])
    spread = d.node("Add", [d.reduce("ReduceMean", squares, [flow.axis], 1), d.scalar(0.01)])
    return d.follow(flow, d.node("Div", [away, d.node("Sqrt", [spread])]))


@family(2, 3, 4, modes=("float",))
def softmax_channels(d: Draft, flow: Flow) -> Flow:
    """Softmax over the channels as a gate."""
    flow = linear(d, flow, width(d))
    if d.opset < 13 and flow.rank == 4:  # there Softmax is over all axes from `axis` on
        return product(d, flow, d.follow(flow, d.node("Softmax", [flow.name], axis=1)))
    axis = flow.axis if d.opset < 13 else d.pick([flow.axis, flow.axis - flow.rank])
    return product(d, flow, d.follow(flow, d.node("Softmax", [flow.name], axis=axis)))
