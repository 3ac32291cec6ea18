"""What a chain of movement operators states, and how its nodes shrink."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod

import numpy as np
from onnx import NodeProto, helper

from onnxslim_snacs.ir.types import Axis, BoolArray, Fact, IntArray, Tie
from onnxslim_snacs.ops.chains import MOVES, Chain, Leaf, run_node
from onnxslim_snacs.ops.common import pin_operand
from onnxslim_snacs.ops.node import Edit, Keep, ReplaceNode, known


def propagate(chain: Chain) -> Iterator[Fact]:
    """One tie for each axis of each leaf."""
    for node in chain.nodes.values():
        for operand in range(1, len(node.inputs)):
            yield from pin_operand(node, operand)
    for leaf in chain.leaves:
        shape = known(chain.nodes[leaf.position].out_shape())
        for dim in range(len(shape)):
            index = leaf.index if dim == leaf.dim else None
            yield Tie(Axis(chain.root, dim), Axis(leaf.tensor, dim), index, None)


def shrink(chain: Chain, keep: Keep) -> Iterator[tuple[int, Edit]]:
    """Smaller extents where what is kept is rectangular all along, else one Gather for each leaf.

    Yields:
        (position of the node, its edit).
    """
    inner = _rectangles(chain, keep)
    for position, node in chain.nodes.items() if inner is not None else ():
        assert inner is not None
        for edit in MOVES[node.op](node, inner):
            yield position, edit
    for leaf in chain.leaves if inner is None else ():
        yield leaf.position, _gather(chain, leaf, keep)


def _gather(chain: Chain, leaf: Leaf, keep: Keep) -> ReplaceNode:
    """The leaf straight from the root."""
    kept, stays = keep.index(Axis(chain.root, leaf.dim)), keep.index(Axis(leaf.tensor, leaf.dim))
    index = leaf.index if stays is None else leaf.index[stays]
    index = index if kept is None else np.searchsorted(kept, index)
    name = f"{leaf.tensor}_cut_index"
    node: NodeProto = helper.make_node(
        "Gather",
        [chain.root, name],
        [leaf.tensor],
        name=chain.nodes[leaf.position].proto.name,
        axis=leaf.dim,
    )
    return ReplaceNode((node,), {name: index.astype(np.int64)})


@dataclass(frozen=True, slots=True)
class _Inner:
    """What is kept, the tensors in between included."""

    keep: Keep
    inner: Mapping[Axis, IntArray]

    def index(self, axis: Axis) -> IntArray | None:
        return self.inner[axis] if axis in self.inner else self.keep.index(axis)

    def extent(self, axis: Axis, before: int) -> int:
        index = self.inner.get(axis)
        return self.keep.extent(axis, before) if index is None else len(index)

    def scale(self, axis: Axis) -> tuple[int, int] | None:
        return self.keep.scale(axis)


def _rectangles(chain: Chain, keep: Keep) -> _Inner | None:
    """The kept slots of every tensor of the chain; None if one of them is no full grid."""
    shape = chain.nodes[min(chain.nodes)].facts.samples(chain.root)[0]
    mask = np.ones(shape, dtype=bool)
    for dim, extent in enumerate(shape):
        kept, scale = keep.index(Axis(chain.root, dim)), keep.scale(Axis(chain.root, dim))
        slots = np.arange(extent) % (scale[1] if scale else extent)
        line = np.isin(slots, slots if kept is None else kept)
        mask &= line.reshape([-1 if d == dim else 1 for d in range(len(shape))])
    masks: dict[str, BoolArray] = {chain.root: mask}
    inner: dict[Axis, IntArray] = {}
    for node in chain.nodes.values():
        moved = run_node(node, masks[node.inputs[0]], 0)
        lines = _grid(moved) if moved is not None else None
        if moved is None or lines is None:
            return None
        tensor = node.outputs[0]
        masks[tensor] = moved
        inner.update(
            (Axis(tensor, dim), line)
            for dim, line in enumerate(lines)
            if len(line) < moved.shape[dim] and keep.scale(Axis(tensor, dim)) is None
        )
    facts = chain.nodes[min(chain.nodes)].facts
    if any(known(facts.shape(axis.tensor))[axis.dim] is None for axis in inner):
        return None
    ends = [Axis(leaf.tensor, leaf.dim) for leaf in chain.leaves]
    agrees = all(_same(keep.index(axis), inner.get(axis)) for axis in ends)
    return _Inner(keep, inner) if agrees else None


def _grid(mask: BoolArray) -> list[IntArray] | None:
    """The kept slots along each axis; None if what is kept is not their product."""
    axes = range(mask.ndim)
    lines = [np.flatnonzero(mask.any(axis=tuple(a for a in axes if a != d))) for d in axes]
    return lines if prod(len(line) for line in lines) == np.count_nonzero(mask) else None


def _same(a: IntArray | None, b: IntArray | None) -> bool:
    return (a is None and b is None) or (a is not None and b is not None and np.array_equal(a, b))
