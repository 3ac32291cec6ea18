"""Chains of movement operators that, taken together, only pick or reorder slots of one axis.

ShuffleNet's channel shuffle is Reshape-Transpose-Reshape.  Node by node it is a product of axes, of
which one factor would have to be cut as a whole, through all blocks; as a whole it is a permutation
of single channels.  So such a chain is run once on consecutive numbers, and what it does to the one
axis is stated as one exact tie between the tensor at its root and each tensor at its leaves.  The
tensors in between take part in nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxslim_snacs.ir.types import IntArray
from onnxslim_snacs.model.graph import ModelGraph
from onnxslim_snacs.ops import gather, reshape, transpose
from onnxslim_snacs.ops import slice as slicing
from onnxslim_snacs.ops.node import OpNode
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
        result = run_node(node, result, sample)
    return result


def run_node(node: OpNode, array: NDArray[Any], sample: int) -> NDArray[Any] | None:
    """What a movement makes of an array of its input's shape; None where that is not known.

    Args:
        node: the movement.
        array: the values that are moved.
        sample: the sample size at which its shapes are taken.
    """
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
