"""Reductions and searches along axes.

Reduce...: data (kept ..., reduced ...) -> the kept axes, or all with extent 1 where reduced.  What
a reduction says changes with what it no longer sees, so a reduced axis stays unless the user allows
it.  That holds for sums too, though zeros are as good as nothing there: a Softmax that is written
out divides by a sum, and what is left of it would change.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from onnxslim_snacs.ir.types import Fact, Pin, Tie
from onnxslim_snacs.ops.common import same_axes, statistics
from onnxslim_snacs.ops.node import OpNode, known
from onnxslim_snacs.ops.registry import Family, OpRule

REDUCTIONS = (  # noqa: SIM905
    "ReduceSum ReduceMean ReduceSumSquare ReduceL1 ReduceL2 ReduceMax ReduceMin ReduceProd "
    "ReduceLogSum ReduceLogSumExp"
).split()


def propagate_reduce(node: OpNode) -> Iterable[Fact]:
    """Kept axes pass, reduced axes stay."""
    rank = len(known(node.in_shape(0)))
    if node.has_input(1):
        extent = known(node.in_shape(1))[0] if known(node.in_shape(1)) else 1
        value = node.in_value(1)
        if value is None and extent != 0:
            yield from _all_pinned(node, "the axes to reduce are not constant")
            return
        axes = [int(a) for a in value.reshape(-1)] if value is not None else []
    else:
        axes = [int(a) for a in node.attr("axes", ())]
    if not axes and not node.attr("noop_with_empty_axes", 0):
        axes = list(range(rank))
    yield from _reduced(node, [a % rank for a in axes])


def _reduced(node: OpNode, axes: Sequence[int]) -> Iterator[Fact]:
    """The facts of an output without, or with extent 1 at, `axes`."""
    rank = len(known(node.in_shape(0)))
    left = [d for d in range(rank) if d not in axes]
    keepdims = node.attr("keepdims", 1) == 1  # ONNX Runtime takes any other number for 0
    for position, dim in enumerate(left):
        yield Tie(node.in_axis(0, dim), node.out_axis(dim if keepdims else position))
    for dim in axes:
        yield from _lost(node, dim)


def _lost(node: OpNode, dim: int) -> Iterator[Fact]:
    if node.op in REDUCTIONS:
        yield from statistics(node, node.in_axis(0, dim), ((0, dim),))
    else:
        yield Pin(node.in_axis(0, dim), f"{node.op} gives positions on this axis")


def _all_pinned(node: OpNode, reason: str) -> Iterator[Pin]:
    yield from (Pin(node.in_axis(0, d), reason) for d in range(len(known(node.in_shape(0)))))
    yield from (Pin(node.out_axis(d), reason) for d in range(len(known(node.out_shape()))))


def propagate_arg(node: OpNode) -> Iterable[Fact]:
    """ArgMax and ArgMin: positions along `axis`."""
    yield from _reduced(node, [int(node.attr("axis", 0)) % len(known(node.in_shape(0)))])


def propagate_top_k(node: OpNode) -> Iterable[Fact]:
    """TopK: values and positions of the largest along `axis`."""
    rank = len(known(node.in_shape(0)))
    axis = int(node.attr("axis", -1)) % rank
    yield Pin(node.in_axis(0, axis), "the largest are searched along this axis")
    for output in range(2):
        if node.outputs[output]:
            yield from same_axes(node, 0, [d for d in range(rank) if d != axis], output)
            yield Pin(node.out_axis(axis, output), "the largest were searched along this axis")


def propagate_softmax(node: OpNode) -> Iterable[Fact]:
    """Softmax and its kin: over one axis; before opset 13 over all axes from `axis` on."""
    rank = len(known(node.in_shape(0)))
    yield from same_axes(node, 0, range(rank))
    if node.opset >= 13:
        axes = [int(node.attr("axis", -1)) % rank]
    else:
        axes = list(range(int(node.attr("axis", 1)) % (rank + 1), rank))
    for dim in axes:
        if node.op == "Hardmax":
            yield Pin(node.in_axis(0, dim), "Hardmax gives a position on this axis")
        else:
            yield from statistics(node, node.in_axis(0, dim), ((0, dim),), ((0, dim),))


def propagate_cumulative(node: OpNode) -> Iterable[Fact]:
    """CumSum: along the axis that input 1 names."""
    rank = len(known(node.in_shape(0)))
    axis = node.in_value(1)
    if axis is None:
        yield from _all_pinned(node, f"the axis of {node.op} is not constant")
        return
    yield from same_axes(node, 0, range(rank))
    yield Pin(node.in_axis(0, int(axis.reshape(-1)[0]) % rank), f"{node.op} runs along this axis")


RULES: Family = {
    **{op: OpRule(propagate_reduce) for op in REDUCTIONS},
    "ArgMax": OpRule(propagate_arg),
    "ArgMin": OpRule(propagate_arg),
    "TopK": OpRule(propagate_top_k),
    "Softmax": OpRule(propagate_softmax),
    "LogSoftmax": OpRule(propagate_softmax),
    "Hardmax": OpRule(propagate_softmax),
    "CumSum": OpRule(propagate_cumulative),
}
