"""Contractions: Gemm, MatMul and Einsum, all of them stated as one labelled product.

Every axis of every operand gets a label, as in Einsum.  Axes with the same label run together; a
label that the output lacks is summed over.  Gemm is mk,kn->mn (or km, nk, where transposed), MatMul
is (batch...)mk,(batch...)kn->(batch...)mn, where a 1-D operand has only k.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from onnxslim_snacs.ir.types import Axis, Fact, Pin, Sink, Tie
from onnxslim_snacs.model.sizes import Shape
from onnxslim_snacs.ops.common import broadcast_one
from onnxslim_snacs.ops.node import OpNode, known
from onnxslim_snacs.ops.products import LayerForm, Product, Weight, contraction
from onnxslim_snacs.ops.registry import Family, OpRule

Labels = Sequence[str]


@dataclass(frozen=True, slots=True)
class _Place:
    """An axis of an operand that carries a label."""

    operand: int
    axis: Axis


def contract(node: OpNode, operands: Mapping[int, Labels], out: Labels) -> Iterator[Fact]:
    """The facts of a sum of products.

    Args:
        node: the node.
        operands: position of an input -> a label for each of its axes.
        out: a label for each axis of output 0.
    """
    places = _places(node, operands)
    made = {label: node.out_axis(dim) for dim, label in enumerate(out)}
    for label, found in places.items():
        target = made.get(label, found[0].axis)
        for place in found:
            if place.axis != target:
                yield Tie(place.axis, target)
    for label in places:
        if label not in made:
            yield _sink(node, label, places, made)


def _places(node: OpNode, operands: Mapping[int, Labels]) -> dict[str, list[_Place]]:
    """Where each label stands; an axis of extent 1 that is spread takes part in nothing."""
    found: dict[str, list[tuple[_Place, int | None]]] = {}
    for operand, labels in operands.items():
        for dim, extent in enumerate(known(node.in_shape(operand))):
            place = _Place(operand, node.in_axis(operand, dim))
            found.setdefault(labels[dim], []).append((place, extent))
    return {
        label: [p for p, extent in row if extent != 1] or [p for p, _ in row]
        for label, row in found.items()
    }


def _sink(
    node: OpNode, label: str, places: Mapping[str, list[_Place]], made: Mapping[str, Axis]
) -> Sink:
    """The sum over `label`: zeros go onto the data operand, the other one is its weight."""
    here = places[label]
    data = next((p for p in here if not node.facts.is_weight(p.axis.tensor)), here[0])
    other = next((p for p in here if p.operand != data.operand), None)
    if other is None:
        return Sink(data.axis, data.operand)
    free = [
        (place.axis, made[name])
        for name, row in places.items()
        for place in row
        if name in made
        and place.operand == other.operand
        and all(p.operand == other.operand for p in row)
    ]
    weight_out, out = free[-1] if free else (None, None)
    return Sink(data.axis, data.operand, other.axis, other.operand, weight_out, out)


def propagate_gemm(node: OpNode) -> Iterable[Fact]:
    """Gemm: A (m, k) or transposed, B (k, n) or transposed, C broadcast to (m, n)."""
    yield from contract(node, *gemm_labels(node))
    if node.has_input(2):
        yield from broadcast_one(node, 2, known(node.out_shape()))


def gemm_labels(node: OpNode) -> tuple[dict[int, Labels], Labels]:
    """Labels of Gemm's operands and of its output."""
    left, right = node.attr("transA", 0), node.attr("transB", 0)
    return {0: "km" if left else "mk", 1: "nk" if right else "kn"}, "mn"


def macs_gemm(node: OpNode) -> Iterable[Product]:
    """Products of Gemm."""
    return contraction(node, *gemm_labels(node))


def propagate_matmul(node: OpNode) -> Iterable[Fact]:
    """MatMul: A (batch..., m, k), B (batch..., k, n); a 1-D operand has only k."""
    yield from contract(node, *matmul_labels(known(node.in_shape(0)), known(node.in_shape(1))))


def macs_matmul(node: OpNode) -> Iterable[Product]:
    """Products of MatMul."""
    a, b = node.in_shape(0), node.in_shape(1)
    return () if a is None or b is None else contraction(node, *matmul_labels(a, b))


def matmul_labels(a: Shape, b: Shape) -> tuple[dict[int, Labels], Labels]:
    """Labels of MatMul's operands and of its output; batch axes count from the right."""
    left = ["k"] if len(a) == 1 else [*_batch(len(a) - 2), "m", "k"]
    right = ["k"] if len(b) == 1 else [*_batch(len(b) - 2), "k", "n"]
    batch = _batch(max(len(a), len(b)) - 2)
    tail = [label for label in ("m", "n") if label in left or label in right]
    return {0: left, 1: right}, [*batch, *tail]


def _batch(count: int) -> list[str]:
    return [f"batch{k}" for k in range(count, 0, -1)]


def propagate_einsum(node: OpNode) -> Iterable[Fact]:
    """Einsum: the equation is the labelling; a missing right side is every label seen once."""
    shapes = [known(node.in_shape(k)) for k in range(len(node.inputs))]
    labels = einsum_labels(node.attr("equation", ""), [len(s) for s in shapes])
    if labels is None or len(labels[1]) != len(known(node.out_shape())):
        reason = "the equation and the ranks of the operands do not fit together"
        for index, shape in enumerate(shapes):
            yield from (Pin(node.in_axis(index, dim), reason) for dim in range(len(shape)))
        yield from (Pin(node.out_axis(d), reason) for d in range(len(known(node.out_shape()))))
        return
    yield from contract(node, *labels)


def macs_einsum(node: OpNode) -> Iterable[Product]:
    """Products of Einsum, which multiplies its operands from the left to the right."""
    shapes = [node.in_shape(k) for k in range(len(node.inputs))]
    ranks = [len(shape) for shape in shapes if shape is not None]
    labels = einsum_labels(node.attr("equation", ""), ranks)
    out = node.out_shape()
    if labels is None or out is None or len(labels[1]) != len(out):
        return ()
    return contraction(node, *labels)


def einsum_labels(equation: str, ranks: Sequence[int]) -> tuple[dict[int, Labels], Labels] | None:
    """Labels of the operands and of the output; None if the equation does not fit the ranks.

    The axes under an ellipsis are batch axes, counted from the right.
    """
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(ranks):
        return None
    batches = [rank - len(term.replace("...", "")) for term, rank in zip(terms, ranks, strict=True)]
    if any(b < 0 or (b and "..." not in t) for b, t in zip(batches, terms, strict=True)):
        return None
    if not arrow:
        once = sorted(c for c in set(left) if c.isalpha() and left.count(c) == 1)
        right = ("..." if "..." in left else "") + "".join(once)
    operands: dict[int, Labels] = {k: _term(term, batches[k]) for k, term in enumerate(terms)}
    return operands, _term(right, max(batches))


def _term(term: str, batch: int) -> list[str]:
    before, ellipsis, after = term.partition("...")
    return [*before, *(_batch(batch) if ellipsis else []), *after]


RULES: Family = {
    "Gemm": OpRule(
        propagate_gemm,
        macs=macs_gemm,
        weight=Weight((0, 1, 2), LayerForm.MATRIX, bias=2, gain="alpha", bias_gain="beta"),
    ),
    "MatMul": OpRule(propagate_matmul, macs=macs_matmul, weight=Weight((0, 1), LayerForm.MATRIX)),
    "Einsum": OpRule(propagate_einsum, macs=macs_einsum, weight=Weight(None)),
}
