"""Chains of movement operators that, taken together, only pick or reorder slots of one axis.

ShuffleNet's channel shuffle is Reshape-Transpose-Reshape.  Node by node it is a product of axes, of
which one factor would have to be cut as a whole, through all blocks; as a whole it is a permutation
of single channels.  So such a chain is run once on consecutive numbers, and what it does to the one
axis is stated as one exact tie between the tensor at its root and each tensor at its leaves.  The
tensors in between take part in nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, helper

from onnxslim_snacs.ir.types import Axis, BoolArray, Fact, IntArray, Tie
from onnxslim_snacs.model.graph import ModelGraph
from onnxslim_snacs.ops import gather, reshape, transpose
from onnxslim_snacs.ops import slice as slicing
from onnxslim_snacs.ops.common import pin_operand
from onnxslim_snacs.ops.node import Edit, Keep, OpNode, ReplaceNode, known
from onnxslim_snacs.ops.registry import Shrink, nothing_to_shrink

#: Longer chains, and chains over more elements, are left to the rules of their nodes.
MAX_NODES = 16
MAX_ELEMENTS = 2**24

#: What a chain is made of, with the rule that shrinks a node as long as all stays rectangular.
MOVES: dict[str, Shrink] = {
    "Reshape": reshape.shrink_reshape,
    "Flatten": nothing_to_shrink,
    "Transpose": nothing_to_shrink,
    "Squeeze": transpose.shrink_squeeze,
    "Unsqueeze": nothing_to_shrink,
    "Gather": gather.shrink_gather,
    "Slice": slicing.shrink_slice,
}


@dataclass(frozen=True, slots=True)
class Leaf:
    """A tensor that is the root with slots of one axis picked or reordered.

    Attributes:
        position: position of the node that writes it.
        tensor: its name.
        dim: the axis on which it differs from the root.
        index: for each of its slots there the slot of the root.
    """

    position: int
    tensor: str
    dim: int
    index: IntArray


@dataclass(frozen=True, slots=True)
class Chain:
    """A tree of movement nodes.

    Attributes:
        root: the tensor that goes in.
        nodes: its nodes by position, in the order of the graph.
        leaves: the tensors that come out.
    """

    root: str
    nodes: Mapping[int, OpNode]
    leaves: tuple[Leaf, ...]

    @property
    def tensors(self) -> tuple[str, ...]:
        """The root and the leaves, which are all that the outside sees."""
        return (self.root, *(leaf.tensor for leaf in self.leaves))


def find_chains(graph: ModelGraph, nodes: Sequence[OpNode]) -> tuple[Chain, ...]:
    """All chains of a model; no node is in two of them.

    Args:
        graph: the model.
        nodes: its nodes.
    """
    chains: list[Chain] = []
    taken: set[int] = set()
    for position, node in enumerate(nodes):
        if node.op != "Reshape" or position in taken:
            continue
        chain = _grow(graph, nodes, position)
        if chain is not None and taken.isdisjoint(chain.nodes):
            chains.append(chain)
            taken.update(chain.nodes)
    return tuple(chains)


def _grow(graph: ModelGraph, nodes: Sequence[OpNode], start: int) -> Chain | None:
    """The chain that begins with a node; None if some tensor of it goes elsewhere."""
    root = nodes[start].inputs[0]
    members, leaves, pending = {start: nodes[start]}, list[Leaf](), [start]
    while pending:
        position = pending.pop()
        tensor = nodes[position].outputs[0]
        picked = _picked(root, _path(graph, members, tensor, root))
        if picked is not None:
            leaves.append(Leaf(position, tensor, *picked))
            continue
        readers = graph.consumers.get(tensor, ())
        if not readers or tensor in graph.outputs or len(members) + len(readers) > MAX_NODES:
            return None
        if any(not _moves(nodes[reader], tensor) for reader in readers):
            return None
        members.update((reader, nodes[reader]) for reader in readers)
        pending.extend(readers)
    if len(members) == 1:
        return None
    order = sorted(members)
    return Chain(root, {k: members[k] for k in order}, tuple(sorted(leaves, key=_position)))


def _position(leaf: Leaf) -> int:
    return leaf.position


def _moves(node: OpNode, tensor: str) -> bool:
    """Whether the node moves the tensor and does not use it as an operand too."""
    return node.op in MOVES and list(node.inputs).count(tensor) == 1 and node.inputs[0] == tensor


def _path(graph: ModelGraph, members: Mapping[int, OpNode], tensor: str, root: str) -> list[OpNode]:
    """The nodes between the root and a tensor."""
    path: list[OpNode] = []
    while tensor != root:
        path.append(members[graph.producer[tensor]])
        tensor = path[-1].inputs[0]
    return path[::-1]


def _picked(root: str, path: Sequence[OpNode]) -> tuple[int, IntArray] | None:
    """The axis on which the end of the path differs from the root, and which slots it holds."""
    facts, end = path[0].facts, path[-1].outputs[0]
    before, after = facts.shape(root), facts.shape(end)
    samples = facts.samples(root)
    if before is None or after is None or len(before) != len(after) or not samples:
        return None
    if any(name in facts.changing.dims for node in path for name in (root, *node.outputs)):
        return None
    differs = [dim for dim, (b, a) in enumerate(zip(before, after, strict=True)) if b != a]
    candidates = differs or [dim for dim, extent in enumerate(before) if (extent or 0) > 1]
    if len(differs) > 1 or any(prod(shape) > MAX_ELEMENTS for shape in samples):
        return None
    numbers = [np.arange(prod(shape), dtype=np.int64).reshape(shape) for shape in samples]
    results = [_run(path, array, sample) for sample, array in enumerate(numbers)]
    for dim in candidates:
        index = _selection(numbers, results, dim) if before[dim] is not None else None
        if index is not None:
            return dim, index
    return None


def _selection(
    numbers: Sequence[IntArray], results: Sequence[NDArray[Any] | None], dim: int
) -> IntArray | None:
    """For each slot of an axis the slot from which it comes, the same for all samples."""
    found: IntArray | None = None
    for array, result in zip(numbers, results, strict=True):
        if result is None or result.size == 0:
            return None
        line = np.moveaxis(result, dim, 0).reshape(result.shape[dim], -1)[:, 0]
        index = (line // prod(array.shape[dim + 1 :])) % array.shape[dim]
        same = found is None or np.array_equal(found, index)
        if not same or not np.array_equal(result, np.take(array, index, axis=dim)):
            return None
        found = index
    return found


def _run(path: Sequence[OpNode], array: NDArray[Any], sample: int) -> NDArray[Any] | None:
    """What the nodes make of an array; None where an operand is not constant."""
    result: NDArray[Any] | None = array
    for node in path:
        if result is None:
            return None
        result = _run_node(node, result, sample)
    return result


def _run_node(node: OpNode, array: NDArray[Any], sample: int) -> NDArray[Any] | None:
    shape = node.facts.samples(node.outputs[0])[sample]
    if node.op == "Transpose":
        return array.transpose(node.attr("perm", list(reversed(range(array.ndim)))))
    if node.op == "Gather":
        axis = int(node.attr("axis", 0)) % array.ndim
        indices = gather.constant_indices(node, axis)
        return None if indices is None else np.take(array, indices, axis=axis)
    if node.op == "Slice":
        bounds = slicing.slice_bounds(node) or {}
        lines = [_line(bounds.get(dim), extent) for dim, extent in enumerate(array.shape)]
        if not bounds or any(line is None for line in lines):
            return None
        return array[np.ix_(*(line for line in lines if line is not None))]
    return array.reshape(shape)


def _line(bounds: slicing.Bounds | None, extent: int) -> IntArray | None:
    return np.arange(extent) if bounds is None else bounds.index(extent)


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
        moved = _run_node(node, masks[node.inputs[0]], 0)
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
