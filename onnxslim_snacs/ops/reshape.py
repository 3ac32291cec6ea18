"""Reshape and Flatten: axes are merged and split in row-major order.

Wherever the running products of input and output extents agree, under every sample size, one
segment ends and the next begins.  Within a segment all running products of both sides, in ascending
order, give the finest common factors: (6, 4) -> (3, 8) is (3, 2, 4) on both sides, so that 6 = 3*2
and 8 = 2*4 are splits and 3 and 4 are ties.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from math import prod

from onnxslim_snacs.ir.types import Axis, Extent, Fact, Period, Pin, Split, Tie, virtual_axis
from onnxslim_snacs.model.facts import ModelFacts
from onnxslim_snacs.ops.common import pin_operand, pin_structural, pin_tensors
from onnxslim_snacs.ops.node import Edit, Keep, OpNode, SetDims, known
from onnxslim_snacs.ops.registry import Family, OpRule

#: One extent (or running product) for each sample size.
Extents = tuple[int, ...]
#: An axis with its extents.
Member = tuple[Axis, Extents]

DYNAMIC = "split or merged with an extent that changes with the input"
CHOSEN = "into a shape that is computed or chosen while the model runs"


def propagate(node: OpNode) -> Iterable[Fact]:
    """Reshape and Flatten: segments of axes with equal products."""
    yield from pin_operand(node, 1)
    if not _spelled(node):
        yield from pin_tensors(node, (node.inputs[0], node.outputs[0]), CHOSEN)
        return
    before, after = members(node.facts, node.inputs[0]), members(node.facts, node.outputs[0])
    if before is None or after is None or not _told(before, after):
        tensors = (node.inputs[0], node.outputs[0])
        yield from pin_tensors(node, tensors, "the shape is not known or empty")
        return
    ones = [axis for axis, extents in (*before, *after) if set(extents) == {1}]
    yield from pin_structural(ones, "axis of extent 1")
    left, right = _without_ones(before), _without_ones(after)
    for number, (a, b) in enumerate(_segments(left, right)):
        yield from _segment(node, number, a, b)


def _spelled(node: OpNode) -> bool:
    """Whether the new shape follows from shapes and constants, all but one of its entries.

    What a body hands on, or values of samples, may be another shape in the next run.
    """
    if len(node.inputs) < 2 or node.facts.follows_from_shapes(node.inputs[1]) or not node.facts.ran:
        return True
    graph = node.facts.graph
    maker = graph.producer.get(node.inputs[1])
    if maker is None or graph.nodes[maker].op_type != "Concat":
        return False
    others = [n for n in graph.nodes[maker].input if not node.facts.follows_from_shapes(n)]
    return [node.facts.shape(name) for name in others] == [(1,)]


def members(facts: ModelFacts, tensor: str) -> list[Member] | None:
    """The axes of a tensor with their extents under every sample size; None if not known."""
    seen = facts.samples(tensor)
    if not seen:
        shape = known(facts.shape(tensor))
        if None in shape:
            return None
        seen = (tuple(extent or 0 for extent in shape),)
    seen = (*seen, *_unseen(facts, tensor, seen[0]))
    return [(Axis(tensor, dim), extents) for dim, extents in enumerate(zip(*seen, strict=True))]


def _unseen(facts: ModelFacts, tensor: str, shape: Extents) -> list[Extents]:
    """A sample that no run had, where an extent changes that was the same in all of them.

    Equal extents stay equal: each is multiplied by a prime of its own.
    """
    if not facts.changing.dims:
        return []
    moving = facts.changing.dims.get(tensor, frozenset())
    return [tuple(e * _prime(e) if k in moving else e for k, e in enumerate(shape))]


def _prime(number: int) -> int:
    """The first prime behind a number far apart from those of other numbers."""
    found = 1009 + 500 * number
    while any(found % k == 0 for k in range(2, int(found**0.5) + 1)):
        found += 1
    return found


def _told(before: Sequence[Member], after: Sequence[Member]) -> bool:
    """Whether no extent is 0, and both sides have the same number of elements."""
    if any(0 in extents for _, extents in (*before, *after)):
        return False
    totals = [_running(side)[-1:] for side in (_without_ones(before), _without_ones(after))]
    return totals[0] == totals[1] or not all(totals)


def _without_ones(axes: Sequence[Member]) -> list[Member]:
    return [member for member in axes if set(member[1]) != {1}]


def _running(axes: Sequence[Member]) -> list[Extents]:
    """Products of the extents up to and including each axis."""
    products: list[Extents] = []
    for _, extents in axes:
        last = products[-1] if products else (1,) * len(extents)
        products.append(tuple(p * e for p, e in zip(last, extents, strict=True)))
    return products


def _segments(
    before: Sequence[Member], after: Sequence[Member]
) -> Iterator[tuple[Sequence[Member], Sequence[Member]]]:
    """The shortest runs of input axes and output axes with the same product."""
    ends = {product: k + 1 for k, product in enumerate(_running(after))}
    i = j = 0
    for k, product in enumerate(_running(before)):
        if product in ends:
            yield before[i : k + 1], after[j : ends[product]]
            i, j = k + 1, ends[product]


def _segment(
    node: OpNode, number: int, before: Sequence[Member], after: Sequence[Member]
) -> Iterator[Fact]:
    """The facts of one segment by its finest common factors."""
    products = _without_exchanged(sorted({*_running(before), *_running(after)}))
    one = (1,) * len(products[0])
    factors = [_ratio(high, low) for low, high in zip([one, *products], products, strict=False)]
    if any(factor is None for factor in factors):
        yield from _coarse_segment(node, number, before, after)
        return
    position = {one: 0} | {product: k + 1 for k, product in enumerate(products)}
    for axis in (*_exchanged(before, position), *_exchanged(after, position)):
        yield Pin(axis, DYNAMIC)
    sides = [_spans(side, position) for side in (before, after)]
    owner: dict[int, Axis] = {}
    for axis, start, stop in (*sides[0], *sides[1]):
        if stop - start == 1 and start not in owner:
            owner[start] = axis
    for k, factor in enumerate(factors):
        if k not in owner:
            owner[k] = virtual_axis(node.key, f"factor {number}.{k}")
            if factor is not None and len(set(factor)) == 1:
                yield Extent(owner[k], factor[0])
    for side in sides:
        covered = {k for _, start, stop in side for k in range(start, stop)}
        yield from (Pin(owner[k], DYNAMIC) for k in owner if k not in covered)
    sizes = [factor or one for factor in factors]
    for axis, start, stop in (*sides[0], *sides[1]):
        if stop - start > 1:
            parts = [(owner[k], sizes[k]) for k in range(start, stop)]
            yield from _product(axis, parts)
        elif owner[start] != axis:
            yield Tie(owner[start], axis)


def _product(axis: Axis, parts: Sequence[Member]) -> Iterator[Fact]:
    """An axis as the product of others; those that change with the input have to come first."""
    moving = sum(len(set(extents)) > 1 for _, extents in parts)
    fixed = parts[moving:]
    if not fixed or any(len(set(extents)) > 1 for _, extents in fixed):
        yield from (Pin(part, DYNAMIC) for part in (axis, *(part for part, _ in parts)))
        return
    if moving:
        yield Period(axis, prod(extents[0] for _, extents in fixed))
        yield from (Pin(part, DYNAMIC) for part, _ in parts[:moving])
    if len(fixed) == 1:
        yield Tie(axis, fixed[0][0])
    else:
        yield Split(axis, tuple(part for part, _ in fixed))


def _ratio(high: Extents, low: Extents) -> Extents | None:
    """The quotients, None unless all are whole."""
    if any(h % v for h, v in zip(high, low, strict=True)):
        return None
    return tuple(h // v for h, v in zip(high, low, strict=True))


def _spans(axes: Sequence[Member], position: dict[Extents, int]) -> list[tuple[Axis, int, int]]:
    """For each axis the range of factors of which it is the product, if they are known."""
    stops = [position.get(product) for product in _running(axes)]
    return [
        (axis, start, stop)
        for (axis, _), start, stop in zip(axes, [0, *stops], stops, strict=False)
        if start is not None and stop is not None
    ]


def _exchanged(axes: Sequence[Member], position: dict[Extents, int]) -> list[Axis]:
    """The axes that begin or end between two factors that change with each other."""
    known = {axis for axis, _, _ in _spans(axes, position)}
    return [axis for axis, _ in axes if axis not in known]


def _without_exchanged(products: Sequence[Extents]) -> list[Extents]:
    """The running products but those between factors that change while their product does not.

    Height and width of which only the area is known count as one factor.
    """
    kept: list[Extents] = []
    for number, product in enumerate(products):
        low = kept[-1] if kept else (1,) * len(product)
        high = products[number + 1] if number + 1 < len(products) else None
        own, whole = _ratio(product, low), _ratio(high, low) if high is not None else None
        moves = own is not None and len(set(own)) > 1
        if not (moves and whole is not None and len(set(whole)) == 1):
            kept.append(product)
    return kept


def _coarse_segment(
    node: OpNode, number: int, before: Sequence[Member], after: Sequence[Member]
) -> Iterator[Fact]:
    """Both sides split one common fine axis, for extents without common factors."""
    extents = [extents for _, extents in (*before, *after)]
    if any(len(set(e)) > 1 for e in extents):
        for axis, _ in (*before, *after):
            yield Pin(axis, DYNAMIC)
        return
    fine = virtual_axis(node.key, f"segment {number}")
    yield Extent(fine, prod(e[0] for _, e in before))
    yield Split(fine, tuple(axis for axis, _ in before))
    yield Split(fine, tuple(axis for axis, _ in after))


def shrink_reshape(node: OpNode, keep: Keep) -> Iterable[Edit]:
    """Entries that spell out an extent that has changed get the new number."""
    shape = known(node.out_shape())
    partial = node.facts.partial(node.inputs[1])
    entries: dict[int, int] = {}
    scales: dict[int, tuple[int, int]] = {}
    for dim, old in enumerate(shape):
        axis, entry = node.out_axis(dim), partial[dim] if partial else None
        changed = keep.index(axis) is not None or entry == 0
        scale = keep.scale(axis)
        if scale is not None and not (entry == -1 or _copies(node, keep, dim, entry, scale)):
            scales[dim] = scale
        if old is None or not changed:
            continue
        extent = keep.extent(axis, old)
        if not _still_right(node, keep, dim, extent, entry):
            entries[dim] = extent
    if entries or scales:
        yield SetDims(1, entries, scales, reshape=not node.attr("allowzero", 0))


def _copies(node: OpNode, keep: Keep, dim: int, entry: int | None, scale: tuple[int, int]) -> bool:
    """Whether the entry copies an extent of the input that shrinks by the same share."""
    return (
        entry == 0 and not node.attr("allowzero", 0) and keep.scale(node.in_axis(0, dim)) == scale
    )


def _still_right(node: OpNode, keep: Keep, dim: int, extent: int, entry: int | None) -> bool:
    """Whether -1 (what is left over) or 0 (as in the input) says the new extent already."""
    if entry == 0 and not node.attr("allowzero", 0):
        old = known(node.in_shape(0))[dim]
        return old is not None and keep.extent(node.in_axis(0, dim), old) == extent
    return entry == -1


RULES: Family = {
    "Reshape": OpRule(propagate, shrink_reshape),
    "Flatten": OpRule(propagate),
}
