"""DeformConv: a convolution whose taps read where computed offsets say.

Data (n, c, ...), weight (m, c/g, taps ...), offsets (n, o x taps x 2, ...), bias (m), mask (n, o x
taps, ...).  With o offset groups the channels are also (o, c/o), and each group has offsets of its
own: channels go from every group alike, or a group goes as a whole with its offsets.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from onnxslim_snacs.ir.types import Extent, Fact, Pin, Split, Tie, virtual_axis
from onnxslim_snacs.ops import conv
from onnxslim_snacs.ops.common import pin_structural
from onnxslim_snacs.ops.node import Edit, Keep, OpNode, SetAttribute, known
from onnxslim_snacs.ops.products import Weight, convolution
from onnxslim_snacs.ops.registry import Family, OpRule

_OFFSETS, _BIAS, _MASK = 2, 3, 4


def propagate(node: OpNode) -> Iterable[Fact]:
    """A convolution, and the offsets of each group of channels."""
    yield from conv.propagate_with(node, made=0, met=1, bias=_BIAS, still=False)
    groups = int(node.attr("offset_group", 1))
    channels = known(node.in_shape(0))[1]
    for index in (_OFFSETS, _MASK):
        if not node.has_input(index):
            continue
        yield Tie(node.in_axis(index, 0), node.in_axis(0, 0))
        rank = len(known(node.in_shape(index)))
        yield from pin_structural((node.in_axis(index, d) for d in range(2, rank)), "spatial axis")
        yield from _taps(node, index, groups)
    if groups == 1:
        return
    if channels is None:
        yield Pin(node.in_axis(0, 1), "offsets over a dynamic channel axis")
        return
    offsets, inside = (virtual_axis(node.key, role) for role in _ROLES)
    yield Extent(offsets, groups)
    yield Extent(inside, channels // groups)
    yield Split(node.in_axis(0, 1), (offsets, inside))


_ROLES = ("offset group", "channels in an offset group")


def _taps(node: OpNode, index: int, groups: int) -> Iterator[Fact]:
    """Offsets or weights of the taps, group by group."""
    axis, extent = node.in_axis(index, 1), known(node.in_shape(index))[1]
    reason = "offsets of the taps"
    if groups == 1 or extent is None:
        yield from pin_structural([axis], reason)
        return
    taps = virtual_axis(node.key, f"taps of input {index}")
    yield Extent(taps, extent // groups)
    yield from pin_structural([taps], reason)
    yield Split(axis, (virtual_axis(node.key, _ROLES[0]), taps))


def shrink(node: OpNode, keep: Keep) -> Iterable[Edit]:
    """`group` and `offset_group` count what is left."""
    yield from conv.shrink(node, keep)
    groups = int(node.attr("offset_group", 1))
    left = keep.extent(virtual_axis(node.key, _ROLES[0]), groups)
    if left != groups:
        yield SetAttribute("offset_group", left)


RULES: Family = {"DeformConv": OpRule(propagate, shrink, convolution, Weight((1, 3)))}
