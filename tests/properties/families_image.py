"""Families for images (n, c, h, w)."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.properties.draft import Draft, Flow
from tests.properties.families import family
from tests.properties.layers import (
    activation,
    conv,
    conv_transpose,
    joined,
    linear,
    product,
    total,
    width,
)

#: A window of pooling that halves the image.
HALVING: dict[str, Any] = {"kernel_shape": [2, 2], "strides": [2, 2]}


def even(side: int) -> bool:
    return side % 2 == 0 and side > 1


def power_of_two(pixels: int) -> bool:
    return pixels & (pixels - 1) == 0


@family(4)
def convolution(d: Draft, flow: Flow) -> Flow:
    """Convolutions of all strides and kernels."""
    out, side = width(d), min(flow.shape[2:])
    if side >= 4 and d.chance(0.3):
        return activation(d, conv(d, flow, out, kernel=3, same=False))
    stride = 2 if even(side) and d.chance(0.5) else 1
    return activation(d, conv(d, flow, out, kernel=d.pick([1, 3]), stride=stride))


@family(4)
def depthwise(d: Draft, flow: Flow) -> Flow:
    """MobileNet: pointwise, depthwise (perhaps two filters for each channel), pointwise."""
    flow = activation(d, conv(d, flow, width(d)))
    times = d.pick([1, 1, 2])
    stride = 2 if even(min(flow.shape[2:])) and d.chance(0.3) else 1
    group = flow.channels
    flow = conv(d, flow, times * group, kernel=d.pick([1, 3]), stride=stride, group=group)
    return conv(d, activation(d, flow), width(d))


@family(4)
def inverted_residual(d: Draft, flow: Flow) -> Flow:
    """MobileNetV2: wide inside, narrow outside, a sum around it."""
    flow = d.calm(flow)
    body = activation(d, conv(d, flow, width(d)))
    body = activation(d, conv(d, body, body.channels, kernel=3, group=body.channels))
    return total(d, flow, conv(d, body, flow.channels))


@family(4)
def grouped(d: Draft, flow: Flow) -> Flow:
    """ResNeXt: a convolution in groups between two whole ones."""
    group, share, out = d.pick([(2, 2, 2), (2, 3, 2), (3, 2, 1), (2, 1, 3), (4, 2, 2)])
    flow = activation(d, conv(d, flow, group * share))
    flow = activation(d, conv(d, flow, group * out, kernel=d.pick([1, 3]), group=group))
    return conv(d, flow, width(d)) if d.chance(0.8) else flow


@family(4)
def grouped_twice(d: Draft, flow: Flow) -> Flow:
    """Two grouped convolutions with a channel shuffle between them."""
    group, share = d.pick([(2, 2), (2, 3), (3, 2)])
    count = group * share
    flow = conv(d, activation(d, conv(d, flow, count)), count, group=group)
    return conv(d, shuffled(d, flow, group), count, group=group)


@family(4)
def shuffle(d: Draft, flow: Flow) -> Flow:
    """ShuffleNet's channel shuffle alone, or with halves that are passed on."""
    group, share = d.pick([(2, 2), (2, 3), (3, 2), (2, 4)])
    return activation(d, shuffled(d, conv(d, flow, group * share), group))


def shuffled(d: Draft, flow: Flow, group: int) -> Flow:
    """Reshape, Transpose, Reshape."""
    n, c, h, w = flow.shape
    name = d.reshape(flow.name, (n, group, c // group, h, w))
    name = d.node("Transpose", [name], perm=[0, 2, 1, 3, 4])
    return d.follow(flow, d.reshape(name, (n, c, h, w), source=flow.name))


@family(4)
def transposed(d: Draft, flow: Flow) -> Flow:
    """ConvTranspose, in groups or not."""
    if flow.shape[2] > 4 or d.chance(0.7):
        flow = conv(d, flow, width(d), kernel=1, stride=2 if even(flow.shape[2]) else 1)
        return activation(d, conv_transpose(d, flow, width(d)))
    group, share, out = d.pick([(2, 2, 2), (2, 3, 1), (3, 1, 2)])
    flow = activation(d, conv(d, flow, group * share))
    return conv(d, conv_transpose(d, flow, group * out, group=group), width(d))


@family(4)
def batch_norm(d: Draft, flow: Flow) -> Flow:
    """Conv, BatchNormalization, activation; with numbers that keep integers exact."""
    return activation(d, normalised(d, d.calm(conv(d, flow, width(d), kernel=d.pick([1, 3])))))


def normalised(d: Draft, flow: Flow) -> Flow:
    """BatchNormalization."""
    c = flow.channels
    scale, bias, mean = d.numbers((c,)), d.numbers((c,)), d.numbers((c,))
    if d.integer:
        variance = d.rng.choice(np.array([1.0, 4.0], dtype=np.float32), c)
    else:
        variance = (0.5 + d.rng.random(c)).astype(np.float32)
    names = [d.constant(a, "bn") for a in (scale, bias, mean, variance)]
    epsilon = 0.0 if d.integer else 1e-5
    name = d.node("BatchNormalization", [flow.name, *names], epsilon=epsilon)
    return d.follow(flow, name, bound=2.0 * (flow.bound + 2.0) + 2.0, bits=flow.bits + 1)


@family(4)
def pre_activation(d: Draft, flow: Flow) -> Flow:
    """ResNet v2: BatchNormalization and activation before each layer of a body."""
    flow = d.calm(flow)
    body = conv(d, activation(d, normalised(d, flow)), width(d), kernel=3)
    body = conv(d, activation(d, normalised(d, d.calm(body))), flow.channels, kernel=3)
    return total(d, flow, body)


@family(4)
def padded_shortcut(d: Draft, flow: Flow) -> Flow:
    """CIFAR ResNets: every other pixel and channels of zeros beside a body with stride 2."""
    flow = activation(d, conv(d, flow, width(d)))
    side, more = flow.shape[2], d.pick([(1, 1), (2, 2), (0, 3)])
    out = flow.channels + sum(more)
    if not even(side):
        return flow
    name = d.slice(d.slice(flow.name, 2, 0, 2**31 - 1, 2), 3, 0, side, 2)
    pads = d.ints(0, more[0], 0, 0, 0, more[1], 0, 0)
    name = d.node("Pad", [name, pads] + ([d.scalar(0.0)] if d.chance(0.5) else []))
    shape = (flow.shape[0], out, side // 2, side // 2)
    short = d.follow(flow, name, shape=shape)
    body = activation(d, conv(d, flow, width(d), kernel=3, stride=2))
    body = conv(d, body, out, kernel=3)
    return activation(d, total(d, short, body))


@family(4)
def downsampled_residual(d: Draft, flow: Flow) -> Flow:
    """ResNet's first block of a stage: stride 2 in the body and in a 1 x 1 projection."""
    if not even(flow.shape[2]):
        return flow
    out = width(d)
    flow = d.calm(flow)
    body = conv(d, activation(d, conv(d, flow, width(d), kernel=3, stride=2)), out, kernel=3)
    return activation(d, total(d, body, conv(d, flow, out, stride=2)))


@family(4)
def squeeze_excite(d: Draft, flow: Flow) -> Flow:
    """A gate for each channel, from all channels, by 1 x 1 convolutions or linear layers."""
    flow = activation(d, conv(d, flow, width(d)))
    gate = d.calm(pooled(d, flow))
    if d.chance(0.5):
        gate = conv(d, activation(d, conv(d, gate, d.pick([2, 3]))), flow.channels)
    else:
        flat = d.follow(gate, d.squeeze(gate.name, [2, 3]), shape=gate.shape[:2])
        flat = linear(d, activation(d, linear(d, flat, 3)), flow.channels)
        gate = d.follow(flat, d.unsqueeze(flat.name, [2, 3]), shape=gate.shape)
    return product(d, flow, activation(d, gate, at_zero=False))


def pooled(d: Draft, flow: Flow) -> Flow:
    """One number for each channel, as an image of one pixel."""
    pixels = flow.shape[2] * flow.shape[3]
    ways = ["GlobalMaxPool", "ReduceSum", "ReduceMax"]
    if power_of_two(pixels) or not d.integer:
        ways += ["GlobalAveragePool", "GlobalAveragePool", "ReduceMean"]
    way, shape = d.pick(ways), (*flow.shape[:2], 1, 1)
    if way.startswith("Global"):
        name = d.node(way, [flow.name])
    else:
        name = d.reduce(way, flow.name, d.pick([[2, 3], [-2, -1]]), 1)
    more = int(np.log2(pixels)) if way in ("GlobalAveragePool", "ReduceMean") else 0
    bound = flow.bound * (pixels if way == "ReduceSum" else 1)
    return d.follow(flow, name, shape=shape, bound=bound, bits=flow.bits + more)


@family(4)
def pool(d: Draft, flow: Flow) -> Flow:
    """MaxPool and AveragePool."""
    if not even(flow.shape[2]):
        return activation(d, flow)
    flow = d.calm(flow)
    n, c, h, w = flow.shape
    shape, window = (n, c, h // 2, w // 2), HALVING
    if d.chance(0.5):
        return d.follow(flow, d.node("MaxPool", [flow.name], **window), shape=shape)
    name = d.node("AveragePool", [flow.name], **window)
    return d.follow(flow, name, shape=shape, bits=flow.bits + 2)


@family(4)
def pixel_shuffle(d: Draft, flow: Flow) -> Flow:
    """DepthToSpace in both orders, also written out."""
    if flow.shape[2] > 4:
        flow = conv(d, flow, width(d), stride=2)
    out = d.pick([2, 3])
    flow = d.calm(conv(d, flow, 4 * out))
    n, _, h, w = flow.shape
    shape = (n, out, 2 * h, 2 * w)
    way = d.pick(["DCR", "CRD", "written"])
    if way != "written":
        name = d.node("DepthToSpace", [flow.name], blocksize=2, mode=way)
    else:
        name = d.reshape(flow.name, (n, out, 2, 2, h, w))
        name = d.node("Transpose", [name], perm=[0, 1, 4, 2, 5, 3])
        name = d.reshape(name, shape, source=flow.name)
    return activation(d, d.follow(flow, name, shape=shape))


@family(4)
def space_to_depth(d: Draft, flow: Flow) -> Flow:
    """SpaceToDepth, or YOLO's focus: four slices side by side."""
    flow = d.calm(conv(d, flow, d.pick([2, 3])))
    n, c, h, w = flow.shape
    if not even(h):
        return flow
    shape = (n, 4 * c, h // 2, w // 2)
    if d.chance(0.5):
        name = d.node("SpaceToDepth", [flow.name], blocksize=2)
        return d.follow(flow, name, shape=shape)
    parts = [
        d.slice(d.slice(flow.name, 2, dy, 2**31 - 1, 2), 3, dx, 2**31 - 1, 2)
        for dx in (0, 1)
        for dy in (0, 1)
    ]
    return d.follow(flow, d.node("Concat", parts, axis=1), shape=shape)


@family(4)
def upsampled_skip(d: Draft, flow: Flow) -> Flow:
    """U-Net: down, up by Resize, side by side with what was before."""
    if not even(flow.shape[2]):
        return flow
    flow = d.calm(flow)
    low = activation(d, conv(d, flow, width(d), stride=2))
    scales = d.constant(np.array([1, 1, 2, 2], dtype=np.float32))
    mode: dict[str, Any] = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    regions = "" if d.opset >= 13 else d.constant(np.empty(0, dtype=np.float32))
    name = d.node("Resize", [low.name, regions, scales], mode="nearest", **mode)
    high = d.follow(low, name, shape=(*low.shape[:2], *flow.shape[2:]))
    return joined(d, flow, high) if d.chance(0.6) else total(d, high, conv(d, flow, high.channels))


@family(4)
def one_by_one_as_matmul(d: Draft, flow: Flow) -> Flow:
    """A 1 x 1 convolution as MatMul over pixels, the weight on the left."""
    flow = d.calm(linear(d, flow, width(d)))
    n, c, h, w = flow.shape
    out = width(d)
    weight, gain = d.weight((out, c), (1,))
    name = d.node("MatMul", [weight, d.reshape(flow.name, (n, c, h * w))])
    name = d.reshape(name, (n, out, h, w), source=flow.name)
    return d.follow(flow, name, shape=(n, out, h, w), bound=flow.bound * gain)


@family(4, modes=("float",))
def instance_norm(d: Draft, flow: Flow) -> Flow:
    """InstanceNormalization, each channel by itself."""
    flow = conv(d, flow, width(d))
    scale, shift = d.constant(d.numbers((flow.channels,))), d.constant(d.numbers((flow.channels,)))
    name = d.node("InstanceNormalization", [flow.name, scale, shift])
    return activation(d, d.follow(flow, name))


@family(4, modes=("float",), opset=21)
def group_norm(d: Draft, flow: Flow) -> Flow:
    """GroupNormalization: whole groups may go."""
    group, share = d.pick([(2, 2), (3, 2), (2, 3)])
    flow = conv(d, flow, group * share)
    scale, shift = d.constant(d.numbers((flow.channels,))), d.constant(d.numbers((flow.channels,)))
    name = d.node("GroupNormalization", [flow.name, scale, shift], num_groups=group)
    return activation(d, d.follow(flow, name))


@family(4, modes=("float",))
def local_response(d: Draft, flow: Flow) -> Flow:
    """LRN, which mixes neighbouring channels."""
    flow = conv(d, flow, width(d))
    return d.follow(flow, d.node("LRN", [flow.name], size=3, bias=1.0))


@family(4)
def flatten(d: Draft, flow: Flow) -> Flow:
    """Images to vectors in either order: k columns for each channel."""
    flow = activation(d, linear(d, flow, d.pick([2, 3, 4])))
    n, c, h, w = flow.shape
    if h * w > 16:
        flow = d.calm(flow)
        window = HALVING
        name, h, w = d.node("MaxPool", [flow.name], **window), h // 2, w // 2
        flow = d.follow(flow, name, shape=(n, c, h, w))
    name, shape = flow.name, (n, c * h * w)
    if d.chance(0.4):
        name = d.node("Transpose", [name], perm=[0, 2, 3, 1])
    if d.chance(0.5):
        name = d.node("Flatten", [name], **({"axis": 1} if d.chance(0.5) else {}))
    else:
        name = d.reshape(name, shape)
    return d.follow(flow, name, shape=shape)


@family(4)
def global_pool(d: Draft, flow: Flow) -> Flow:
    """Images to vectors of one number for each channel."""
    flow = pooled(d, activation(d, linear(d, flow, width(d))))
    if d.chance(0.5):
        return d.follow(flow, d.squeeze(flow.name, [2, 3]), shape=flow.shape[:2])
    return d.follow(flow, d.reshape(flow.name, flow.shape[:2]), shape=flow.shape[:2])


@family(4)
def to_tokens(d: Draft, flow: Flow) -> Flow:
    """ViT: a patch embedding, pixels become tokens, perhaps a place is added."""
    out = d.pick([4, 6])
    flow = d.calm(conv(d, flow, out, stride=2 if even(flow.shape[2]) else 1))
    n, c, h, w = flow.shape
    name = d.node("Transpose", [d.reshape(flow.name, (n, c, h * w))], perm=[0, 2, 1])
    flow = d.follow(flow, name, shape=(n, h * w, c))
    if d.chance(0.5):
        place = d.constant(d.numbers((1, h * w, c)), "place")
        flow = d.follow(flow, d.node("Add", [flow.name, place]), bound=flow.bound + 2)
    return flow
