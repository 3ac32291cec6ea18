"""The original in the names of what is left when blocks are dropped, for recovery to aim at.

Where a block was dropped, the tensor that goes past it stands for the one in which the block ended:
the layer that writes it is to answer for both.  Renamed accordingly, the original can be walked
beside the rest, as it is beside a cut.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from onnx import ModelProto, NodeProto

from onnxslim_snacs.layers.branches import Branch, without_nested
from onnxslim_snacs.model.edit import free_name, taken_names
from onnxslim_snacs.model.graph import ModelGraph, captured
from onnxslim_snacs.model.pieces import reads

#: What is affine for each channel, and may stand between a layer and a sum.
_BETWEEN = ("Add", "Sub", "Mul", "Div", "BatchNormalization", "Identity", "Dropout")


@dataclass(frozen=True, slots=True)
class Aims:
    """What the layers of a model without some blocks are to come to.

    Attributes:
        model: the original; a tensor that stands for another one has its name there.
        changed: tensors of what is left that have other values than those of the same name there.
        answering: of these the ones that stand for others, and what they follow from channel by
            channel: the outputs of the layers that are to answer for what went.
    """

    model: ModelProto
    changed: frozenset[str]
    answering: frozenset[str]


def aims_of(original: ModelGraph, left: ModelGraph, branches: Sequence[Branch]) -> Aims:
    """What the layers of a model are to come to.

    Args:
        original: the model with its blocks.
        left: the same without some of them.
        branches: the blocks that went.
    """
    parts = without_nested(branches)
    moved = dict(_moved(original, parts))
    model = _renamed(original.proto, moved)
    roots = {name for tensor in moved for name in _answering(left, tensor)}
    gone = {part.exit for part in parts}
    passed = {part.shortcut for part in parts} - gone
    return Aims(model, _downstream(left, roots | passed), frozenset(roots))


def _moved(original: ModelGraph, parts: Sequence[Branch]) -> Iterator[tuple[str, str]]:
    """(tensor that is left, tensor of the original for which it stands)."""
    ends = {part.shortcut: part for part in parts}
    gone = frozenset[int]().union(*(part.nodes for part in parts))
    for part in parts:
        if part.shortcut in {other.exit for other in parts}:
            continue
        last, between = part, [part.shortcut]
        while last.exit in ends:
            between.append(last.exit)
            last = ends[last.exit]
        # a sum on the way, or a bend of its own, has more readers than those that went
        if _is_passed(original, between, gone):
            yield part.shortcut, last.exit
            yield from _in_front(original, part.shortcut, last.exit)


def _is_passed(original: ModelGraph, between: Iterable[str], gone: frozenset[int]) -> bool:
    """Whether nobody reads these tensors but what went, and the graph writes them itself."""
    return all(
        name in original.producer
        and name not in original.outputs
        and gone.issuperset(original.consumers.get(name, ()))
        and not any(name in captured(original.nodes[p]) for p in original.consumers.get(name, ()))
        for name in between
    )


def _in_front(original: ModelGraph, here: str, there: str) -> Iterator[tuple[str, str]]:
    """The same in front of an activation that ends both."""
    a, b = (original.nodes[original.producer[name]] for name in (here, there))
    if a.op_type not in ("Relu", "Clip") or a.op_type != b.op_type:
        return
    alone = all(
        len(original.consumers.get(node.input[0], ())) == 1
        and node.input[0] in original.producer
        and node.input[0] not in original.outputs
        for node in (a, b)
    )
    if alone:
        yield a.input[0], b.input[0]


def _renamed(proto: ModelProto, moved: Mapping[str, str]) -> ModelProto:
    """A copy in which each tensor of `moved` holds what its partner does."""
    model = ModelProto()
    model.CopyFrom(proto)
    taken = taken_names(model.graph)
    names = {there: here for here, there in moved.items()}
    names.update({here: free_name(f"{here}_before", taken) for here in moved})
    for node in model.graph.node:
        for field in (node.input, node.output):
            for k, name in enumerate(field):
                if name in names:
                    field[k] = names[name]
    del model.graph.value_info[:]
    return model


def _answering(left: ModelGraph, tensor: str) -> Iterator[str]:
    """A tensor, and those from which it follows channel by channel."""
    stack = [tensor]
    while stack:
        name = stack.pop()
        yield name
        node = _writer(left, name)
        if node is not None and node.op_type in _BETWEEN:
            stack.extend(n for n in node.input if len(left.consumers.get(n, ())) == 1)
        elif node is not None and node.op_type in ("Relu", "Clip") and name == tensor:
            stack.append(node.input[0])


def _writer(graph: ModelGraph, tensor: str) -> NodeProto | None:
    position = graph.producer.get(tensor)
    return None if position is None else graph.nodes[position]


def _downstream(graph: ModelGraph, roots: Iterable[str]) -> frozenset[str]:
    found = set(roots)
    for node in graph.nodes:
        if not found.isdisjoint(reads(node)):
            found.update(o for o in node.output if o)
    return frozenset(found)
