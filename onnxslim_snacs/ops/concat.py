"""Concat and Split: axes side by side, at exact offsets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from onnxslim_snacs.ir.types import Axis, Fact, Pin, Tie
from onnxslim_snacs.ops.common import pin_operand
from onnxslim_snacs.ops.node import Edit, Keep, OpNode, SetAttribute, SetInput, arange, known
from onnxslim_snacs.ops.registry import Family, OpRule

DYNAMIC = "joined with an extent that changes with the input"
CHOSEN = "split into sizes that are computed or chosen while the model runs"


def propagate_concat(node: OpNode) -> Iterable[Fact]:
    """The output's axis is made of the inputs' axes one after the other."""
    yield from _side_by_side(node, node.outputs[0], [name for name in node.inputs if name])


def propagate_quantised_concat(node: OpNode) -> Iterable[Fact]:
    """QLinearConcat: behind the scale and the zero point of the output, three inputs a part."""
    yield from _side_by_side(node, node.outputs[0], list(node.inputs[2::3]))


def propagate_split(node: OpNode) -> Iterable[Fact]:
    """The input's axis is made of the outputs' axes one after the other."""
    yield from pin_operand(node, 1)
    if node.has_input(1) and not node.facts.follows_from_shapes(node.inputs[1]):
        axis = int(node.attr("axis", 0)) % len(known(node.in_shape(0)))
        yield from (Pin(Axis(name, axis), CHOSEN) for name in (node.inputs[0], *node.outputs))
    yield from _side_by_side(node, node.inputs[0], list(node.outputs))


def _side_by_side(node: OpNode, whole: str, parts: list[str]) -> Iterator[Fact]:
    rank = len(known(node.facts.shape(whole)))
    axis = int(node.attr("axis", 0)) % rank
    extents = [known(node.facts.shape(part))[axis] for part in parts]
    fixed = None not in extents
    if not fixed:
        yield from (Pin(Axis(tensor, axis), DYNAMIC) for tensor in (whole, *parts))
    start = 0
    for part, extent in zip(parts, extents, strict=True):
        for dim in range(rank):
            if dim != axis:
                yield Tie(Axis(part, dim), Axis(whole, dim))
        if extent and fixed:
            index = arange(start, start + extent)
            yield Tie(Axis(part, axis), Axis(whole, axis), None, index)
            start += extent


def shrink_split(node: OpNode, keep: Keep) -> Iterable[Edit]:
    """Count what is left of each part."""
    shape = known(node.in_shape(0))
    axis = int(node.attr("axis", 0)) % len(shape)
    kept = keep.index(node.in_axis(0, axis))
    if kept is None:
        return
    sizes = [known(node.facts.shape(part))[axis] or 0 for part in node.outputs]
    left = np.histogram(kept, np.r_[0, np.cumsum(sizes)])[0]
    if not _says_sizes(node) and len(set(left.tolist())) == 1:
        return
    if node.opset < 13:
        yield SetAttribute("split", left.tolist())
        return
    yield SetInput(1, left.astype(np.int64))
    if node.attr("num_outputs") is not None:
        yield SetAttribute("num_outputs", None)


def _says_sizes(node: OpNode) -> bool:
    return node.has_input(1) or node.attr("split") is not None


RULES: Family = {
    "Concat": OpRule(propagate_concat),
    "com.microsoft::QLinearConcat": OpRule(propagate_quantised_concat),
    "Split": OpRule(propagate_split, shrink_split),
}
