"""DepthToSpace and SpaceToDepth: the channel axis is the product of channels and a block of pixels.

Deep data is (n, b x b x c, h, w) in the orders DCR and SpaceToDepth, (n, c x b x b, h, w) in the
order CRD; flat data is (n, c, h x b, w x b).  All b x b deep slots of a channel go with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from onnxslim_snacs.ir.types import Axis, Fact, Pin, Tie
from onnxslim_snacs.model.sizes import Dim
from onnxslim_snacs.ops.common import pin_structural
from onnxslim_snacs.ops.node import OpNode, arange, known
from onnxslim_snacs.ops.registry import Family, OpRule


def propagate_depth_to_space(node: OpNode) -> Iterable[Fact]:
    """DepthToSpace: deep -> flat."""
    block = int(node.attr("blocksize")) ** 2
    outer = node.attr("mode", "DCR") == "CRD"
    extent = known(node.out_shape())[1]
    yield from _outside(node)
    yield from _channels(node.in_axis(0, 1), node.out_axis(1), extent, block, outer)


def propagate_space_to_depth(node: OpNode) -> Iterable[Fact]:
    """SpaceToDepth: flat -> deep."""
    block = int(node.attr("blocksize")) ** 2
    extent = known(node.in_shape(0))[1]
    yield from _outside(node)
    yield from _channels(node.out_axis(1), node.in_axis(0, 1), extent, block, outer=False)


def _outside(node: OpNode) -> Iterator[Fact]:
    yield Tie(node.in_axis(0, 0), node.out_axis(0))
    for dim in (2, 3):
        yield from pin_structural((node.in_axis(0, dim), node.out_axis(dim)), "spatial axis")


def _channels(deep: Axis, flat: Axis, extent: Dim, block: int, outer: bool) -> Iterator[Fact]:
    """Ties each of the channels' deep slots to the channel."""
    if extent is None:
        yield from (Pin(axis, "a dynamic channel axis is taken apart") for axis in (deep, flat))
        return
    index = arange(0, extent * block)
    yield Tie(deep, flat, index, index // block if outer else index % extent)


RULES: Family = {
    "DepthToSpace": OpRule(propagate_depth_to_space),
    "SpaceToDepth": OpRule(propagate_space_to_depth),
}
