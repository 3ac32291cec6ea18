"""Convolutions.

With g groups the input axis (n c ...) is the product (g, c/g), the output axis (g, m/g) and the
weight of Conv is (m, c/g, taps ...), that of ConvTranspose (c, m/g, taps ...).
"""

from __future__ import annotations

from collections.abc import Iterable

from onnxslim_snacs.ir.types import Axis, Extent, Fact, Pin, Sink, Split, Tie, virtual_axis
from onnxslim_snacs.ops.common import pin_structural
from onnxslim_snacs.ops.node import Edit, Keep, OpNode, SetAttribute, known
from onnxslim_snacs.ops.products import LayerForm, Weight, convolution, transposed_convolution
from onnxslim_snacs.ops.registry import Family, OpRule


def propagate_conv(node: OpNode) -> Iterable[Fact]:
    """Conv: weight axis 0 makes output channels, weight axis 1 meets input channels."""
    yield from propagate_with(node, made=0, met=1)


def propagate_conv_transpose(node: OpNode) -> Iterable[Fact]:
    """ConvTranspose: weight axis 0 meets input channels, weight axis 1 makes output channels."""
    yield from propagate_with(node, made=1, met=0)


def propagate_with(
    node: OpNode, *, made: int, met: int, bias: int = 2, still: bool = True
) -> Iterable[Fact]:
    """A convolution.

    Args:
        node: the node.
        made: the axis of its weight that makes output channels.
        met: the axis of its weight that meets input channels.
        bias: position of its bias.
        still: whether an axis with one tap passes as it is.
    """
    data, out = node.in_axis(0, 1), node.out_axis(1)
    w_made, w_met = node.in_axis(1, made), node.in_axis(1, met)
    groups = int(node.attr("group", 1))
    rank = len(known(node.in_shape(0)))
    yield Tie(node.in_axis(0, 0), node.out_axis(0))
    for dim in range(2, rank):
        yield from pin_structural([node.in_axis(1, dim)], "spatial axis")
        if still and _passes(node, dim):
            yield Tie(node.in_axis(0, dim), node.out_axis(dim))
        else:
            yield from pin_structural((node.in_axis(0, dim), node.out_axis(dim)), "spatial axis")
    if node.has_input(bias):
        yield Tie(node.in_axis(bias, 0), out)
    yield Sink(
        axis=data,
        input=0,
        weight=w_met,
        weight_input=1,
        weight_out=w_made,
        out=out,
        groups=groups,
    )
    if groups == 1:
        yield Tie(data, w_met)
        yield Tie(w_made, out)
    else:
        yield from _grouped(node, data, out, groups, transposed=made == 1)


def _passes(node: OpNode, dim: int) -> bool:
    """Whether a convolution has one tap, no step and no padding along an axis: it is none there."""
    if known(node.in_shape(1))[dim] != 1:
        return False
    rank = len(known(node.in_shape(0))) - 2
    place = dim - 2
    pads = node.attr("pads", (0,) * 2 * rank)
    zero = (*node.attr("output_padding", (0,) * rank)[place : place + 1], *pads[place::rank])
    told = node.attr("output_shape") is not None
    return not told and not any(zero) and node.attr("strides", (1,) * rank)[place] == 1


def _grouped(node: OpNode, data: Axis, out: Axis, groups: int, transposed: bool) -> Iterable[Fact]:
    """Channels go group by group, or the same share of every group."""
    channels, made = known(node.in_shape(0))[1], known(node.out_shape())[1]
    if channels is None or made is None:
        yield Pin(data, "grouped convolution over a dynamic channel axis")
        yield Pin(out, "grouped convolution over a dynamic channel axis")
        return
    group = virtual_axis(node.key, "group")
    into = virtual_axis(node.key, "channels in a group")
    onto = virtual_axis(node.key, "filters in a group")
    yield Extent(group, groups)
    yield Extent(into, channels // groups)
    yield Extent(onto, made // groups)
    yield Split(data, (group, into))
    yield Split(out, (group, onto))
    if transposed:  # weight (c, m/g, ...)
        yield Tie(node.in_axis(1, 0), data)
        yield Tie(node.in_axis(1, 1), onto)
    else:  # weight (m, c/g, ...)
        yield Tie(node.in_axis(1, 0), out)
        yield Tie(node.in_axis(1, 1), into)


def shrink(node: OpNode, keep: Keep) -> Iterable[Edit]:
    """`group` counts the groups that are left."""
    groups = int(node.attr("group", 1))
    if groups == 1:
        return
    left = keep.extent(virtual_axis(node.key, "group"), groups)
    if left != groups:
        yield SetAttribute("group", left)


RULES: Family = {
    "Conv": OpRule(
        propagate_conv, shrink, convolution, Weight((1, 2), LayerForm.CONVOLUTION, bias=2)
    ),
    "ConvTranspose": OpRule(
        propagate_conv_transpose,
        shrink,
        transposed_convolution,
        Weight((1, 2), LayerForm.TRANSPOSED, bias=2),
    ),
}
