"""Normalisations.

BatchNormalization and InstanceNormalization treat each channel by itself: data (n, c, ...), scale,
bias, mean and variance (c).  GroupNormalization treats each group of channels by itself, c = (g,
c/g).  The others take their statistics over the very axes that could lose channels: what they
compute for the rest then changes, so those axes stay unless the user allows it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from onnxslim_snacs.ir.types import Extent, Fact, Pin, Split, Tie, virtual_axis
from onnxslim_snacs.ops.common import (
    broadcast_one,
    pin_structural,
    running_along,
    same_axes,
    statistics,
)
from onnxslim_snacs.ops.node import Edit, Keep, OpNode, SetAttribute, known
from onnxslim_snacs.ops.products import Weight
from onnxslim_snacs.ops.registry import Family, OpRule


def mixed(node: OpNode, dims: Iterable[int]) -> Iterator[Fact]:
    """Statistics over axes of the data and all that is broadcast to them."""
    for dim in dims:
        yield from statistics(node, node.in_axis(0, dim), *running_along(node, dim))


def propagate_batch(node: OpNode) -> Iterable[Fact]:
    """BatchNormalization: data (n, c, ...), four vectors (c); each channel by itself."""
    rank = len(known(node.in_shape(0)))
    yield from same_axes(node, 0, range(rank))
    if rank < 2 or node.attr("spatial", 1) == 0:
        yield from (Pin(node.in_axis(0, d), "statistics for each element") for d in range(rank))
        return
    for index in range(1, 5):
        yield Tie(node.in_axis(index, 0), node.out_axis(1))
    for output in range(1, len(node.outputs)):
        if node.outputs[output]:
            yield Tie(node.out_axis(0, output), node.out_axis(1))
            yield Pin(node.out_axis(0, output), "statistics of a training step")
    if node.attr("training_mode", 0):
        others = (node.in_axis(0, d) for d in range(rank) if d != 1)
        yield from pin_structural(others, "statistics are taken over this axis")


def propagate_instance(node: OpNode) -> Iterable[Fact]:
    """InstanceNormalization: data (n, c, ...), scale and bias (c); each channel by itself.

    Exporters write GroupNormalization so, with the channels of a group merged into the pixels.
    """
    rank = len(known(node.in_shape(0)))
    yield from same_axes(node, 0, range(rank))
    for index in (1, 2):
        yield Tie(node.in_axis(index, 0), node.out_axis(1))
    for dim in range(2, rank):
        yield from statistics(node, node.in_axis(0, dim), ((0, dim),), ((0, dim),))


def propagate_group(node: OpNode) -> Iterable[Fact]:
    """GroupNormalization: data (n, c = g x c/g, ...), scale and bias (c), or (g) before opset 21.

    Whole groups may go, for no group knows of another.
    """
    shape = known(node.in_shape(0))
    groups, channels = int(node.attr("num_groups")), shape[1]
    data, out = node.in_axis(0, 1), node.out_axis(1)
    yield from same_axes(node, 0, range(len(shape)))
    others = (node.in_axis(0, d) for d in range(2, len(shape)))
    yield from pin_structural(others, "statistics are taken over this axis")
    if channels is None:
        yield Pin(data, "a dynamic channel axis is normalised in groups")
        return
    group = virtual_axis(node.key, "group")
    inside = virtual_axis(node.key, "channels in a group")
    yield Extent(group, groups)
    yield Extent(inside, channels // groups)
    yield Split(out, (group, inside))
    for index in (1, 2):
        spelt = known(node.in_shape(index))[0]
        yield Tie(node.in_axis(index, 0), group if node.opset < 21 and spelt == groups else out)
    along = tuple((k, 0) for k in (1, 2) if known(node.in_shape(k))[0] == channels)
    member = np.arange(channels, dtype=np.int64) % (channels // groups)
    yield from statistics(node, inside, ((0, 1), *along), ((0, 1),), member)


def shrink_group(node: OpNode, keep: Keep) -> Iterable[Edit]:
    """`num_groups` counts the groups that are left."""
    groups = int(node.attr("num_groups"))
    left = keep.extent(virtual_axis(node.key, "group"), groups)
    if left != groups:
        yield SetAttribute("num_groups", left)


def propagate_layer(node: OpNode) -> Iterable[Fact]:
    """LayerNormalization and its kin: statistics over the axes from `axis` on.

    Scale and bias are broadcast to the data; the statistics that come out have extent 1 there.
    """
    rank = len(known(node.in_shape(0)))
    first = int(node.attr("axis", -1)) % rank
    yield from same_axes(node, 0, range(rank))
    for index in range(1, len(node.inputs)):
        if node.has_input(index):
            yield from broadcast_one(node, index, known(node.out_shape()))
    for output in range(1, len(node.outputs)):
        if node.outputs[output]:
            yield from same_axes(node, 0, range(first), output)
    yield from mixed(node, range(first, rank))


def propagate_mean_variance(node: OpNode) -> Iterable[Fact]:
    """MeanVarianceNormalization: statistics over `axes`, by default all but the channels."""
    yield from _over(node, node.attr("axes", (0, 2, 3)))


def propagate_lp(node: OpNode) -> Iterable[Fact]:
    """LpNormalization: statistics over `axis`."""
    yield from _over(node, [int(node.attr("axis", -1))])


def _over(node: OpNode, axes: Sequence[int]) -> Iterator[Fact]:
    rank = len(known(node.in_shape(0)))
    yield from same_axes(node, 0, range(rank))
    yield from mixed(node, [int(d) % rank for d in axes])


def propagate_lrn(node: OpNode) -> Iterable[Fact]:
    """LRN: data (n, c, ...); each channel is divided by its neighbours."""
    yield from same_axes(node, 0, range(len(known(node.in_shape(0)))))
    yield Pin(node.in_axis(0, 1), "each channel is divided by its neighbours")


def propagate_skip_layer(node: OpNode) -> Iterable[Fact]:
    """Skip(Simplified)LayerNormalization: data and skip (batch, time, hidden), vectors (hidden)."""
    out = known(node.out_shape())
    for index in range(len(node.inputs)):
        if node.has_input(index):
            yield from broadcast_one(node, index, out)
    for output in range(1, len(node.outputs)):
        if node.outputs[output]:
            dims = [d for d, e in enumerate(known(node.out_shape(output))) if e == out[d]]
            yield from (Tie(node.out_axis(d, output), node.out_axis(d)) for d in dims)
    yield from mixed(node, [len(out) - 1])


def propagate_embed_layer(node: OpNode) -> Iterable[Fact]:
    """EmbedLayerNormalization: ids (batch, time), tables (rows, hidden), out (b, t, hidden)."""
    hidden = node.out_axis(2)
    for index in range(2, 5):
        if node.has_input(index):
            yield from pin_structural([node.in_axis(index, 0)], "row of an embedding table")
            yield Tie(node.in_axis(index, 1), hidden)
    for index in (5, 6):
        yield Tie(node.in_axis(index, 0), hidden)
    for index in (0, 1, 7, 8):
        if node.has_input(index):
            dims = range(len(known(node.in_shape(index))))
            yield from pin_structural((node.in_axis(index, d) for d in dims), "batch and time")
    sums = len(node.outputs) > 2 and node.outputs[2] != ""
    if sums:
        yield Tie(node.out_axis(2, 2), hidden)
    tables = tuple((k, 1) for k in range(2, 5) if node.has_input(k))
    yield from statistics(
        node, hidden, (*tables, (5, 0), (6, 0)), ((0, 2), (2, 2)) if sums else ((0, 2),)
    )


RULES: Family = {
    "BatchNormalization": OpRule(propagate_batch, weight=Weight((1, 2, 3, 4))),
    "InstanceNormalization": OpRule(propagate_instance),
    "GroupNormalization": OpRule(propagate_group, shrink_group),
    "LayerNormalization": OpRule(propagate_layer),
    "RMSNormalization": OpRule(propagate_layer),
    "SimplifiedLayerNormalization": OpRule(propagate_layer),
    "MeanVarianceNormalization": OpRule(propagate_mean_variance),
    "LpNormalization": OpRule(propagate_lp),
    "LRN": OpRule(propagate_lrn),
    "com.microsoft::SkipLayerNormalization": OpRule(propagate_skip_layer),
    "com.microsoft::SkipSimplifiedLayerNormalization": OpRule(propagate_skip_layer),
    "com.microsoft::EmbedLayerNormalization": OpRule(propagate_embed_layer),
}
