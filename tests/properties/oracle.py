"""An oracle of its own: removed slots are taken out where they are read, node by node.

Every operator that mixes the slots of an axis gets, in the original, a `Gather` of the kept slots
in front of it, on the data and on the weight alike.  Which operators those are, and on which axes,
is written down here once more and taken from nowhere: neither from the rules' sinks, nor from what
the prune pass does to weights.  Only the kept slots of activations come from the cut under test.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, helper, numpy_helper

from onnxslim_snacs.ir.keep import KeepMap
from onnxslim_snacs.ir.types import Axis
from onnxslim_snacs.ops import OPERATORS
from onnxslim_snacs.ops.node import op_key
from onnxslim_snacs.ops.products import no_products

Index = NDArray[np.int64]
#: What stands at removed slots behind an operator that must not see them.
GARBAGE = 7.0


@dataclass
class _Rewrite:
    keep: KeepMap
    ranks: dict[str, int]
    extents: dict[tuple[str, int], int]
    values: dict[str, NDArray[Any]]
    nodes: list[NodeProto] = field(default_factory=list)
    count: int = 0

    def kept(self, tensor: str, dim: int) -> Index | None:
        return self.keep.index(Axis(tensor, dim % self.ranks[tensor]))

    def gather(self, tensor: str, dim: int, index: Index) -> str:
        """The kept slots of a tensor."""
        self.count += 1
        stem = f"oracle/{self.count}"
        constant = numpy_helper.from_array(np.asarray(index, dtype=np.int64))
        self.nodes.append(helper.make_node("Constant", [], [f"{stem}/index"], value=constant))
        self.nodes.append(helper.make_node("Gather", [tensor, f"{stem}/index"], [stem], axis=dim))
        return stem

    def spread(
        self, tensor: str, dim: int, index: Index, extent: int, out: str, fill: float
    ) -> None:
        """The kept slots back in their places, `fill` elsewhere."""
        self.count += 1
        stem = f"oracle/{self.count}"
        back = np.full(extent, len(index), dtype=np.int64)
        back[index] = np.arange(len(index))
        one = self.gather(tensor, dim, np.zeros(1, dtype=np.int64))
        zero = numpy_helper.from_array(np.array(0.0, dtype=np.float32))
        level = numpy_helper.from_array(np.array(fill, dtype=np.float32))
        constant = numpy_helper.from_array(back)
        self.nodes += [
            helper.make_node("Constant", [], [f"{stem}/0"], value=zero),
            helper.make_node("Constant", [], [f"{stem}/fill"], value=level),
            helper.make_node("Constant", [], [f"{stem}/back"], value=constant),
            helper.make_node("Mul", [one, f"{stem}/0"], [f"{stem}/none"]),
            helper.make_node("Add", [f"{stem}/none", f"{stem}/fill"], [f"{stem}/slot"]),
            helper.make_node("Concat", [tensor, f"{stem}/slot"], [f"{stem}/all"], axis=dim),
            helper.make_node("Gather", [f"{stem}/all", f"{stem}/back"], [out], axis=dim),
        ]

    def without(self, tensor: str, dim: int) -> str:
        """The tensor with zeros at its removed slots."""
        index = self.kept(tensor, dim)
        if index is None:
            return tensor
        self.count += 1
        name = f"oracle/zeroed {self.count}"
        extent = self.extents[tensor, dim % self.ranks[tensor]]
        part = self.gather(tensor, dim, index)
        self.spread(part, dim, index, extent, name, 0.0)
        return name


def gathered(model: ModelProto, keep: KeepMap, shapes: dict[str, tuple[int, ...]]) -> ModelProto:
    """The original with removed slots taken out in front of every operator that mixes them.

    Args:
        model: the original.
        keep: what is kept.
        shapes: a shape of every tensor.
    """
    ranks = {name: len(shape) for name, shape in shapes.items()}
    extents = {(n, d): e for n, shape in shapes.items() for d, e in enumerate(shape)}
    after = ModelProto()
    after.CopyFrom(model)
    rewrite = _Rewrite(keep, ranks, extents, stored(model))
    for node in model.graph.node:
        fresh = NodeProto()
        fresh.CopyFrom(node)
        _rewritten(rewrite, fresh)
    del after.graph.node[:]
    after.graph.node.extend(rewrite.nodes)
    return after


def _rewritten(r: _Rewrite, node: NodeProto) -> None:
    multiplies = OPERATORS[op_key(node)].macs is not no_products
    assert node.op_type in _MULTIPLYING or not multiplies, (
        f"{node.op_type} is not written down here"
    )
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    if node.op_type in _NORMALISING:
        _normalised(r, node, attributes)
        return
    if node.op_type.startswith("Reduce"):
        for dim in _reduced(r, node, attributes):
            _contract(r, node, [(0, dim)])
    if node.op_type in ("Conv", "ConvTranspose"):
        channel = 0 if node.op_type == "ConvTranspose" else 1
        if attributes.get("group", 1) == 1:
            _contract(r, node, [(0, 1), (1, channel)])
        else:
            node.input[0] = r.without(node.input[0], 1)
    elif node.op_type == "Gemm":
        a, b = attributes.get("transA", 0), attributes.get("transB", 0)
        _contract(r, node, [(0, 0 if a else 1), (1, 1 if b else 0)])
    elif node.op_type == "MatMul":
        _contract(r, node, [(0, -1), (1, max(-2, -r.ranks[node.input[1]]))])
    elif node.op_type == "Einsum":
        for places in _summed(attributes["equation"].decode()):
            _contract(r, node, places)
    elif node.op_type in ("LSTM", "GRU", "RNN"):
        _contract(r, node, [(0, 2), (1, 2)])
        node.input[2] = r.without(node.input[2], 2)
    r.nodes.append(node)


def _contract(r: _Rewrite, node: NodeProto, places: Sequence[tuple[int, int]]) -> None:
    """Gather the kept slots of the data on every operand of a product."""
    kept = [r.kept(node.input[k], dim) for k, dim in places]
    index = next((i for i in kept if i is not None), None)
    if index is None:
        return
    assert all(i is not None and np.array_equal(i, index) for i in kept), (
        f"{node.op_type} {node.name}: its operands lose different slots"
    )
    for k, dim in places:
        rank = r.ranks[node.input[k]]
        name = r.gather(node.input[k], dim % rank, index)
        r.ranks[name] = rank
        r.extents.update({(name, d): r.extents.get((node.input[k], d), 0) for d in range(rank)})
        node.input[k] = name


def _reduced(r: _Rewrite, node: NodeProto, attributes: dict[str, Any]) -> list[int]:
    """The axes over which a reduction runs; the generator always names them."""
    axes = attributes.get("axes")
    return list(r.values[node.input[1]] if axes is None else axes)


def _summed(equation: str) -> Iterator[list[tuple[int, int]]]:
    """For each letter that the result lacks where it stands."""
    left, right = equation.replace(" ", "").split("->")
    terms = left.split(",")
    for letter in sorted(set(left) - set(right) - {","}):
        yield [(k, term.index(letter)) for k, term in enumerate(terms) if letter in term]


#: Operators that sum over slots of two operands, all of which `_rewritten` knows.
_MULTIPLYING = ("Conv", "ConvTranspose", "Gemm", "MatMul", "Einsum", "LSTM", "GRU", "RNN")

#: Operators whose result at one slot depends on the others, with the vectors that run along.
_NORMALISING: dict[str, tuple[int, ...]] = {
    "LayerNormalization": (1, 2),
    "GroupNormalization": (1, 2),
    "Softmax": (),
    "LogSoftmax": (),
}


def _normalised(r: _Rewrite, node: NodeProto, attributes: dict[str, Any]) -> None:
    """Only the kept slots go through; behind it, garbage stands in the others' places."""
    rank = r.ranks[node.input[0]]
    grouped = node.op_type == "GroupNormalization"
    dim = 1 if grouped else int(attributes.get("axis", -1)) % rank
    index = r.kept(node.input[0], dim)
    if index is not None:
        extent, out = r.extents[node.input[0], dim], node.output[0]
        node.input[0] = r.gather(node.input[0], dim, index)
        if grouped:
            held = np.unique(index // (extent // attributes["num_groups"]))
            next(a for a in node.attribute if a.name == "num_groups").i = len(held)
        for k in _NORMALISING[node.op_type]:
            if k < len(node.input):
                node.input[k] = r.gather(node.input[k], 0, index)
        node.output[0] = f"{out}/part"
        r.nodes.append(node)
        r.spread(f"{out}/part", dim, index, extent, out, GARBAGE)
        return
    r.nodes.append(node)


def stored(model: ModelProto) -> dict[str, NDArray[Any]]:
    """Every stored tensor, those in Constant nodes included."""
    found = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant":
            found[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
    return found
