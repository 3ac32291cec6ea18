"""Pooling: each channel by itself.

Data (n, c, pixels ...) -> (n, c, fewer pixels ...); regions of interest put their number where the
batch was.
"""

from __future__ import annotations

from collections.abc import Iterable

from onnxslim_snacs.ir.types import Fact, Pin, Tie
from onnxslim_snacs.ops.common import pin_structural, same_axes
from onnxslim_snacs.ops.node import OpNode, known
from onnxslim_snacs.ops.registry import Family, OpRule

_PIXELS = "spatial axis"
_POSITIONS = "positions of maxima count over all channels"


def propagate_pool(node: OpNode) -> Iterable[Fact]:
    """Batch and channel pass; pixels stay."""
    rank = len(known(node.in_shape(0)))
    yield from same_axes(node, 0, range(min(2, rank)))
    for dim in range(2, rank):
        yield from pin_structural((node.in_axis(0, dim), node.out_axis(dim)), _PIXELS)


def propagate_max_pool(node: OpNode) -> Iterable[Fact]:
    """MaxPool: its second output holds positions that count over all channels.

    They shift when channels go, which is right only where MaxUnpool reads them.
    """
    yield from propagate_pool(node)
    if len(node.outputs) < 2 or not node.outputs[1]:
        return
    yield from same_axes(node, 0, range(2), output=1)
    graph = node.facts.graph
    readers = [graph.nodes[k] for k in graph.consumers.get(node.outputs[1], ())]
    unpooled = all(r.op_type == "MaxUnpool" and r.input[1] == node.outputs[1] for r in readers)
    if not unpooled or node.outputs[1] in graph.outputs:
        yield from (Pin(node.in_axis(0, d), _POSITIONS) for d in range(2))


def propagate_max_unpool(node: OpNode) -> Iterable[Fact]:
    """MaxUnpool: data and positions (n, c, pixels ...)."""
    yield from propagate_pool(node)
    rank = len(known(node.in_shape(1)))
    yield from same_axes(node, 1, range(2))
    yield from pin_structural((node.in_axis(1, d) for d in range(2, rank)), _PIXELS)
    maker = node.facts.graph.producer.get(node.inputs[1])
    pooled = maker is not None and node.facts.graph.nodes[maker].op_type == "MaxPool"
    if not pooled or node.has_input(2):
        yield from (Pin(node.in_axis(0, d), _POSITIONS) for d in range(2))


def propagate_regions(node: OpNode) -> Iterable[Fact]:
    """MaxRoiPool and RoiAlign: data (n, c, h, w), regions (r, 4 or 5) -> (r, c, h', w')."""
    yield Tie(node.in_axis(0, 1), node.out_axis(1))
    yield Tie(node.in_axis(1, 0), node.out_axis(0))
    yield from pin_structural([node.in_axis(0, 0)], "regions name their image")
    yield from pin_structural([node.in_axis(1, 1)], "coordinates of a region")
    for dim in (2, 3):
        yield from pin_structural((node.in_axis(0, dim), node.out_axis(dim)), _PIXELS)
    if node.has_input(2):
        yield Tie(node.in_axis(2, 0), node.out_axis(0))


def propagate_grid_sample(node: OpNode) -> Iterable[Fact]:
    """GridSample: data (n, c, pixels ...), grid (n, pixels' ..., coordinates)."""
    yield from propagate_pool(node)
    yield Tie(node.in_axis(1, 0), node.out_axis(0))
    rest = range(1, len(known(node.in_shape(1))))
    yield from pin_structural((node.in_axis(1, d) for d in rest), _PIXELS)


RULES: Family = {
    "MaxPool": OpRule(propagate_max_pool),
    "MaxUnpool": OpRule(propagate_max_unpool),
    "MaxRoiPool": OpRule(propagate_regions),
    "RoiAlign": OpRule(propagate_regions),
    "GridSample": OpRule(propagate_grid_sample),
    **{
        op: OpRule(propagate_pool)
        for op in (
            "AveragePool",
            "LpPool",
            "GlobalAveragePool",
            "GlobalMaxPool",
            "GlobalLpPool",
        )
    },
}
