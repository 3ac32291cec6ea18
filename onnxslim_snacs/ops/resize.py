"""Resize and Upsample: axes with scale 1 pass, the others are interpolated.

Resize reads (data, roi, scales, sizes), in opset 10 (data, scales); Upsample reads (data, scales)
or has the attribute.  `sizes` spells out the extents of the output.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from onnxslim_snacs.ir.types import Fact, Tie
from onnxslim_snacs.ops.common import pin_structural
from onnxslim_snacs.ops.node import Edit, Keep, OpNode, SetDims, known
from onnxslim_snacs.ops.registry import Family, OpRule


def propagate(node: OpNode) -> Iterable[Fact]:
    """Ties where nothing is interpolated, pins elsewhere."""
    for dim in range(len(known(node.in_shape(0)))):
        pair = (node.in_axis(0, dim), node.out_axis(dim))
        if _passes(node, dim):
            yield Tie(*pair)
        else:
            yield from pin_structural(pair, "interpolated axis")


def _passes(node: OpNode, dim: int) -> bool:
    before, after = node.facts.samples(node.inputs[0]), node.facts.samples(node.outputs[0])
    if before and after and not node.facts.changing.dims:
        same = all(a[dim] == b[dim] for a, b in zip(before, after, strict=True))
    else:  # not run, or not at sizes that tell: what is known of the shapes has to do
        same = known(node.in_shape(0))[dim] == known(node.out_shape())[dim] is not None
    axes = _axes(node)
    if not same or dim not in axes:
        return same
    if node.attr("coordinate_transformation_mode") == "tf_crop_and_resize":
        return False
    if _sizes_index(node) is not None:
        return bool(node.attr("keep_aspect_ratio_policy", "stretch") == "stretch")
    scales = _scales(node)
    return bool(scales) and all(scale[axes.index(dim)] == 1 for scale in scales)


def _axes(node: OpNode) -> list[int]:
    rank = len(known(node.in_shape(0)))
    return [int(a) % rank for a in node.attr("axes", range(rank))]


def _sizes_index(node: OpNode) -> int | None:
    return 3 if node.op == "Resize" and node.has_input(3) else None


def _scales(node: OpNode) -> Sequence[Sequence[float]]:
    """The scales under each sample size; () where one of them is not known."""
    attribute = node.attr("scales")
    if attribute is not None:
        return (attribute,)
    index = 2 if node.op == "Resize" and node.opset >= 11 else 1
    value = node.in_value(index)
    if value is not None:
        return (value.tolist(),)
    name = node.inputs[index]
    seen = [run[name].tolist() for run in node.facts.values if name in run]
    return seen if len(seen) == len(node.facts.values) else ()


def shrink(node: OpNode, keep: Keep) -> Iterable[Edit]:
    """`sizes` spells out the extents."""
    index = _sizes_index(node)
    if index is None:
        return
    shape = known(node.out_shape())
    entries = {}
    for position, dim in enumerate(_axes(node)):
        before = shape[dim]
        if before is None:
            continue
        after = keep.extent(node.out_axis(dim), before)
        if after != before:
            entries[position] = after
    if entries:
        yield SetDims(index, entries)


RULES: Family = {
    "Resize": OpRule(propagate, shrink),
    "Upsample": OpRule(propagate, shrink),
}
