"""Shape arithmetic after a cut: what exporters compute at run time has to come out right again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxslim_snacs.errors import InternalError, foreign
from onnxslim_snacs.ir.keep import KeepMap
from onnxslim_snacs.ops.analyse import Analysis
from onnxslim_snacs.ops.node import OpNode, SetDims


def new_dims(node: OpNode, edit: SetDims) -> NDArray[Any] | None:
    """A shape vector with some entries replaced, as a constant.

    Entries that are known only at run time become -1 or 0 where Reshape allows it.

    Returns:
        The vector, or None if no constant can say it.
    """
    entries: list[int | None] | None = _entries(node, edit.index)
    if entries is None:
        return None
    for position, number in edit.entries.items():
        entries[position] = number
    unknown = [position for position, number in enumerate(entries) if number is None]
    if unknown and not edit.reshape:
        return None
    for position in list(unknown):
        if _copies(node, position):
            entries[position] = 0
            unknown.remove(position)
    if len(unknown) > 1 or (unknown and -1 in entries):
        return None
    for position in unknown:
        entries[position] = -1
    return np.array(entries, dtype=operand_dtype(node, edit.index))


def vector_length(node: OpNode, index: int) -> int:
    """Number of entries of a shape-like input, whether or not the model could be run."""
    shape = node.in_shape(index)
    if shape and shape[0] is not None:
        return shape[0]
    made = node.out_shape()
    if made is None:
        raise InternalError(
            f"{foreign(node.inputs[index])}: the number of its entries is not known"
        )
    return len(made)


def operand_dtype(node: OpNode, index: int) -> np.dtype[Any]:
    """Element type of a shape-like input: the inputs of Slice have to agree in it."""
    name = node.inputs[index]
    value = node.facts.value(name)
    seen = [value] if value is not None else [run[name] for run in node.facts.values if name in run]
    return seen[0].dtype if seen else np.dtype(np.int64)


def _entries(node: OpNode, index: int) -> list[int | None] | None:
    partial = node.facts.partial(node.inputs[index])
    return None if partial is None else list(partial)


def _copies(node: OpNode, position: int) -> bool:
    """Whether Reshape's 0 (copy the input's extent) says what stands at this position."""
    if node.attr("allowzero", 0):
        return False
    before, after = node.facts.samples(node.inputs[0]), node.facts.samples(node.outputs[0])
    if not before or not after or node.facts.changing.dims:
        return False
    return all(
        position < len(b) and b[position] == a[position] for b, a in zip(before, after, strict=True)
    )


def frozen_inputs(
    analysis: Analysis, keep: KeepMap, replaced: set[tuple[int, int]]
) -> Iterator[tuple[int, int, NDArray[Any] | SetDims]]:
    """Constants for numbers that the model derives from extents that the cut changes.

    A head dimension read off a tensor and turned into a scale must keep its old value: wherever
    arithmetic on such an extent leaves the world of shapes, its known value is put in.  It leaves
    it, too, where it meets a constant that is cut: what comes out is no number, but a weight.  Of a
    vector that is known in part, for its other entries follow the input, that part is put in.

    Yields:
        (position of the node, position of its input, value or what of it is known).
    """
    tainted: set[str] = set()
    for position, node in enumerate(analysis.nodes):
        reads_extent = node.op in ("Shape", "Size")
        if reads_extent and keep.touches(node.inputs[:1]):
            tainted.update(node.outputs)
            continue
        hot = [
            k
            for k, name in enumerate(node.inputs)
            if name in tainted and (position, k) not in replaced  # the rule has put it right
        ]
        if not hot or reads_extent:
            continue
        by_shape = all(node.facts.follows_from_shapes(name) for name in node.outputs if name)
        if by_shape and not _scales_a_weight(node, keep, tainted):
            if node.op not in _REARRANGE or 0 in hot:
                tainted.update(node.outputs)
            continue
        for index in hot:
            value = node.facts.value(node.inputs[index])
            if value is not None:
                yield position, index, value
                continue
            partial = node.facts.partial(node.inputs[index]) or ()
            entries = {k: number for k, number in enumerate(partial) if number is not None}
            if entries:
                plain = node.op == "Reshape" and not node.attr("allowzero", 0)
                yield position, index, SetDims(index, entries, reshape=plain)


#: What these make of real numbers are the same numbers, whatever extents they are told.
_REARRANGE = ("Reshape", "Expand")


def _scales_a_weight(node: OpNode, keep: KeepMap, tainted: set[str]) -> bool:
    """Whether numbers that come from extents meet real numbers that are cut.

    Those are weights, or rows of a table that are chosen by an extent and projected.
    """
    if node.op in _REARRANGE:
        return False
    cut = [name for name in node.inputs if name not in tainted and keep.touches([name])]
    values = (node.facts.value(name) for name in cut)
    return any(value is None or value.dtype.kind == "f" for value in values)
