"""Whole blocks: parts of a graph that are only added to what goes past them.

A branch is what lies between a tensor and a sum to which that tensor, or a lighter path from it, is
the other operand (single entry); nobody else reads a value inside it (single exit), and the sum has
the shape of what goes past.  Without it the sum is what goes past: the branch's output is zero.  A
block is a row of branches that recurs, as attention and the two layers behind it do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from onnx import NodeProto

from onnxslim_snacs.model.facts import ModelFacts
from onnxslim_snacs.model.graph import ModelGraph, captured
from onnxslim_snacs.ops.trained import trained_inputs

#: Operators that change nothing where they stand twice in a row.
_IDEMPOTENT = ("Relu", "Clip")
#: Rows of at most so many branches are looked for.
_LONGEST = 4


@dataclass(frozen=True, slots=True)
class Branch:
    """A block that can be dropped.

    Attributes:
        name: the tensor in which it ends.
        kind: branch (the shortcut is the entry), projected (the shortcut is a lighter path), or
            block (several branches in a row).
        entry: the tensor in which it begins.
        exit: the tensor that is no longer written; who reads it reads the shortcut.
        shortcut: what takes its place.
        added: the operand of its sum that is zero without it.
        total: the sum itself.
        nodes: positions of the nodes that go with it.
        parts: the branches of a block, whose own entry, exit and so on are those of its ends.
    """

    name: str
    kind: str
    entry: str
    exit: str
    shortcut: str
    added: str
    total: str
    nodes: frozenset[int]
    parts: tuple[Branch, ...] = ()


@dataclass(frozen=True, slots=True)
class _Field:
    """A graph in which branches are looked for.

    Attributes:
        graph: the graph.
        facts: what is known of its tensors.
        dominators: position of a node -> of the nearest one through which everything comes that it
            reads, -1 where there is none.
    """

    graph: ModelGraph
    facts: ModelFacts
    dominators: Mapping[int, int]

    def is_live(self, tensor: str) -> bool:
        """Whether a tensor follows from the values of the inputs, not only from their sizes."""
        return bool(tensor) and not (
            self.facts.is_weight(tensor) or self.facts.follows_from_shapes(tensor)
        )

    def place(self, tensor: str) -> int:
        """Position of the node that writes a tensor; -1 for what is fed."""
        return self.graph.producer.get(tensor, -1)

    def reads(self, position: int) -> list[str]:
        """The live tensors that a node reads, bodies of control flow included."""
        node = self.graph.nodes[position]
        return [n for n in dict.fromkeys((*node.input, *captured(node))) if self.is_live(n)]

    def between(self, start: int, begin: Sequence[str], end: str) -> frozenset[int]:
        """Nodes on a way from the tensors `begin`, written at `start`, to the tensor `end`."""
        behind, stack = set[int](), [self.place(end)]
        while stack:
            position = stack.pop()
            if position <= start or position in behind:
                continue
            behind.add(position)
            stack.extend(self.place(name) for name in self.reads(position))
        reached, found = set(begin), set[int]()
        for position in sorted(behind):
            if not reached.isdisjoint(self.reads(position)):
                found.add(position)
                reached.update(self.graph.nodes[position].output)
        return frozenset(found)

    def closed(self, nodes: frozenset[int], sum_place: int) -> bool:
        """Whether nobody reads a value of these nodes but they themselves and the sum.

        What only follows from sizes may be read elsewhere: it stays.
        """
        inside = nodes | {sum_place}
        outputs = set(self.graph.outputs)
        made = (n for p in nodes for n in self.graph.nodes[p].output if self.is_live(n))
        return all(
            name not in outputs and inside.issuperset(self.graph.consumers.get(name, ()))
            for name in made
        )

    def trained(self, nodes: frozenset[int]) -> int:
        """How many of the nodes have weights."""
        return sum(
            any(self.facts.is_weight(n) for n in trained_inputs(self.graph.nodes[p])) for p in nodes
        )


def find_branches(graph: ModelGraph, facts: ModelFacts) -> tuple[Branch, ...]:
    """All branches and blocks of a model, in the order in which they end.

    Args:
        graph: the model as it was read; what bodies of control flow hold is not looked at.
        facts: shapes of its tensors, from runs; without them there is no branch.
    """
    field = _Field(graph, facts, _dominators(graph, facts))
    found = [branch for p in range(len(graph.nodes)) for branch in _branch(field, p)]
    return (*found, *_blocks(field, found))


def without_nested(branches: Sequence[Branch]) -> tuple[Branch, ...]:
    """The branches, blocks taken apart, without those that lie in another of them."""
    apart = {part.name: part for branch in branches for part in (branch.parts or (branch,))}
    return tuple(b for b in apart.values() if not any(b.nodes < a.nodes for a in apart.values()))


def _branch(field: _Field, position: int) -> Iterator[Branch]:
    """The branch that ends in a sum, if one does."""
    node = field.graph.nodes[position]
    if node.op_type not in ("Add", "Sum") or len(node.input) != 2 or node.domain:
        return
    a, b = node.input
    if a == b or not (field.is_live(a) and field.is_live(b)):
        return
    for shortcut, added in ((a, b), (b, a)):
        nodes = field.between(field.place(shortcut), (shortcut,), added)
        if nodes:
            yield from _checked(field, position, shortcut, shortcut, added, nodes)
            return
    yield from _projected(field, position, a, b)


def _projected(field: _Field, position: int, a: str, b: str) -> Iterator[Branch]:
    """A branch beside a path that is lighter, both from the same tensor."""
    start = _nearest(field.dominators, field.place(a), field.place(b))
    if start < 0:
        return
    begin = [n for n in field.graph.nodes[start].output if field.is_live(n)]
    paths = {name: field.between(start, begin, name) for name in (a, b)}
    weights = {name: field.trained(nodes) for name, nodes in paths.items()}
    if len(begin) != 1 or weights[a] == weights[b] or not paths[a].isdisjoint(paths[b]):
        return
    added = max(weights, key=lambda name: weights[name])
    shortcut = b if added == a else a
    if field.closed(paths[shortcut], position):
        yield from _checked(field, position, begin[0], shortcut, added, paths[added])


def _checked(
    field: _Field, position: int, entry: str, shortcut: str, added: str, nodes: frozenset[int]
) -> Iterator[Branch]:
    total = field.graph.nodes[position].output[0]
    if not (field.trained(nodes) and field.closed(nodes, position)):
        return
    shapes = [field.facts.samples(name) for name in (shortcut, total)]
    if not shapes[0] or shapes[0] != shapes[1]:
        return
    end, more = _behind(field, total, shortcut)
    if end in field.graph.outputs or _is_captured(field.graph, end):
        return
    kind = "branch" if entry == shortcut else "projected"
    nodes |= {position, *more}
    yield Branch(
        name=end,
        kind=kind,
        entry=entry,
        exit=end,
        shortcut=shortcut,
        added=added,
        total=total,
        nodes=nodes,
    )


def _behind(field: _Field, total: str, shortcut: str) -> tuple[str, tuple[int, ...]]:
    """Where a branch ends: behind an activation through which the shortcut has come as well."""
    graph = field.graph
    readers = graph.consumers.get(total, ())
    if len(readers) != 1 or total in graph.outputs or shortcut not in graph.producer:
        return total, ()
    behind, before = graph.nodes[readers[0]], graph.nodes[graph.producer[shortcut]]
    if behind.op_type in _IDEMPOTENT and behind.input[0] == total and _same(behind, before):
        return behind.output[0], (readers[0],)
    return total, ()


def _same(a: NodeProto, b: NodeProto) -> bool:
    """Whether two nodes do the same to what they read first."""

    def told(node: NodeProto) -> tuple[object, ...]:
        attributes = sorted(x.SerializeToString(deterministic=True) for x in node.attribute)
        return node.op_type, node.domain, tuple(node.input[1:]), tuple(attributes)

    return told(a) == told(b)


def _is_captured(graph: ModelGraph, tensor: str) -> bool:
    """Whether a body of control flow reads a tensor."""
    return any(tensor in captured(graph.nodes[p]) for p in graph.consumers.get(tensor, ()))


def _dominators(graph: ModelGraph, facts: ModelFacts) -> dict[int, int]:
    """For each node the nearest one through which all values come that it reads."""
    found: dict[int, int] = {}
    field = _Field(graph, facts, found)
    for position in range(len(graph.nodes)):
        places = [field.place(name) for name in field.reads(position)]
        nearest = places[0] if places else -1
        for place in places[1:]:
            nearest = _nearest(found, nearest, place)
        found[position] = nearest
    return found


def _nearest(dominators: Mapping[int, int], a: int, b: int) -> int:
    """The nearest common dominator of two nodes, each of which dominates itself."""
    while a != b:
        if a > b:
            a = dominators[a]
        else:
            b = dominators[b]
    return a


def _blocks(field: _Field, branches: Sequence[Branch]) -> Iterator[Branch]:
    """Rows of branches that recur, the shortest that do."""
    for row in _rows(field, branches):
        kinds = [_kind(field.graph, branch) for branch in row]
        for length in range(2, _LONGEST + 1):
            starts = [
                k
                for k in range(len(row) - 2 * length + 1)
                if kinds[k : k + length] == kinds[k + length : k + 2 * length]
                and len(set(kinds[k : k + length])) > 1
            ]
            if starts:
                yield from _joined(row, kinds, starts[0], length)
                break


def _joined(
    row: Sequence[Branch], kinds: Sequence[object], start: int, length: int
) -> Iterator[Branch]:
    pattern = kinds[start : start + length]
    while list(kinds[start : start + length]) == list(pattern):
        parts = row[start : start + length]
        nodes = frozenset[int]().union(*(part.nodes for part in parts))
        name = f"{parts[0].entry} ... {parts[-1].exit}"
        yield replace(parts[-1], name=name, kind="block", nodes=nodes, parts=tuple(parts))
        start += length


def _rows(field: _Field, branches: Sequence[Branch]) -> Iterator[list[Branch]]:
    """Branches one behind the other: all that the next one reads comes through the one before."""
    outer = without_nested(branches)
    numbers, number = [], 0
    for k, branch in enumerate(outer):
        number += k > 0 and not _follows(field, outer[k - 1], branch)
        numbers.append(number)
    for _, row in groupby(zip(numbers, outer, strict=True), key=lambda pair: pair[0]):
        yield [branch for _, branch in row]


def _follows(field: _Field, first: Branch, then: Branch) -> bool:
    if "projected" in (first.kind, then.kind):
        return False
    end, place = field.place(first.exit), field.place(then.entry)
    while place > end:
        place = field.dominators[place]
    return place == end


def _kind(graph: ModelGraph, branch: Branch) -> tuple[str, ...]:
    """What a branch does, by its operators."""
    return tuple(graph.nodes[p].op_type for p in sorted(branch.nodes))
