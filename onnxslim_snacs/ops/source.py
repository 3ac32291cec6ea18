"""Operators whose output is no channel data of their input: constants, extents, indices."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from onnx import NodeProto, helper

from onnxslim_snacs.ir.types import Fact
from onnxslim_snacs.ops.common import pin_tensors
from onnxslim_snacs.ops.node import Edit, Keep, OpNode, ReplaceNode, known
from onnxslim_snacs.ops.registry import Family, OpRule

NUMBERS = "numbers, not channels"


def propagate_constant(node: OpNode) -> Iterable[Fact]:
    """Constant: cut along its own axes like an initializer."""
    return ()


def propagate_extents(node: OpNode) -> Iterable[Fact]:
    """Shape and Size read extents and no values, so that the input is free.

    The length of a vector of extents is the exception: it counts axes, not channels.
    """
    yield from pin_tensors(node, node.outputs, NUMBERS)
    shape, value = known(node.in_shape(0)), node.in_value(0)
    if len(shape) == 1 and value is not None and value.dtype.kind == "i":
        yield from pin_tensors(node, node.inputs, NUMBERS)


def shrink_shape(node: OpNode, keep: Keep) -> Iterable[Edit]:
    """An extent that changes with the input goes on to be told as before: whoever computes with it,
    a batch from batch x heads, say, knows only the old number of heads."""
    rank = len(known(node.in_shape(0)))
    start, end = int(node.attr("start", 0)), int(node.attr("end", rank))
    dims = range(rank)[start:end]
    scales = [keep.scale(node.in_axis(0, dim)) or (1, 1) for dim in dims]
    if all(kept == before for kept, before in scales) or not _is_read(node, dims, scales):
        return
    stem = f"{node.outputs[0]}_cut"
    inner = NodeProto()
    inner.CopyFrom(node.proto)
    inner.output[0] = stem
    times, over = f"{stem}_before", f"{stem}_kept"
    yield ReplaceNode(
        (
            inner,
            helper.make_node("Mul", [stem, times], [f"{stem}_times"]),
            helper.make_node("Div", [f"{stem}_times", over], [node.outputs[0]]),
        ),
        {
            times: np.array([before for _, before in scales], dtype=np.int64),
            over: np.array([kept for kept, _ in scales], dtype=np.int64),
        },
    )


def _is_read(node: OpNode, dims: range, scales: Sequence[tuple[int, int]]) -> bool:
    """Whether someone may read one of the extents that have changed."""
    graph, changed = node.facts.graph, {k for k, s in enumerate(scales) if s != (1, 1)}
    for reader in graph.consumers.get(node.outputs[0], ()):
        other = graph.nodes[reader]
        indices = node.facts.value(other.input[1]) if other.op_type == "Gather" else None
        if indices is None:
            return True
        if changed & set(np.where(indices < 0, indices + len(dims), indices).reshape(-1).tolist()):
            return True
    return node.outputs[0] in graph.outputs


def propagate_generated(node: OpNode) -> Iterable[Fact]:
    """Range, EyeLike, RandomNormal ...: what a slot holds depends on where it stands."""
    for operands in (node.inputs, node.outputs):
        yield from pin_tensors(node, operands, f"{node.op} makes values that depend on their place")


def propagate_selection(node: OpNode) -> Iterable[Fact]:
    """NonZero, NonMaxSuppression, Unique ...: which slots come out depends on all of them."""
    for operands in (node.inputs, node.outputs):
        yield from pin_tensors(node, operands, f"{node.op} selects by value")


#: Operators that draw.
RANDOM = frozenset(
    (
        "RandomNormal",
        "RandomNormalLike",
        "RandomUniform",
        "RandomUniformLike",
        "Bernoulli",
        "Multinomial",
    )
)

RULES: Family = {
    "Constant": OpRule(propagate_constant),
    "Shape": OpRule(propagate_extents, shrink_shape),
    "Size": OpRule(propagate_extents),
    **{op: OpRule(propagate_generated) for op in ("Range", "EyeLike", *sorted(RANDOM))},
    **{op: OpRule(propagate_selection) for op in ("NonZero", "NonMaxSuppression", "Unique")},
}
