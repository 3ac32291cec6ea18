"""Weights that a file computes from stored ones: by weight norm, standardisation, spectral norm.

What normalises a weight takes statistics over the very axes that lose channels.  But a weight is a
constant, whatever computes it: it is as exact, and as small, to store what comes out and to cut
that.  So a weight is taken as stored if, on the way to it, a node would pin its axes or sum over
them.  Where nothing does (a transposed weight, a product of two factors) the stored tensors are cut
themselves and the nodes stay.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, helper

from onnxslim_snacs.ir.types import Axis, Inexact, IntArray, Pin, Sink, Split, Stated, Tie
from onnxslim_snacs.ir.views import components
from onnxslim_snacs.model.facts import ModelFacts
from onnxslim_snacs.model.fold import ancestors
from onnxslim_snacs.model.graph import ModelGraph

#: From how many times its own bytes a weight may come: beyond, it is what layers of their own
#: compute of a constant (queries of a decoder), and those can lose channels themselves.
_SOURCES = 4


def computed_weights(
    graph: ModelGraph, facts: ModelFacts, stated: Iterable[Stated]
) -> dict[str, NDArray[Any]]:
    """The weights that are better stored as they come out, with their values.

    Args:
        graph: the model.
        facts: shapes and values.
        stated: what its nodes say.
    """
    constant = {p for p, node in enumerate(graph.nodes) if _is_constant(facts, node)}
    border = list(_border(graph, facts, constant))
    if not border:
        return {}
    said = [s for s in stated if s.node in constant]
    classes = _classes(said)
    mixing = [(s.node, axis) for s in said for axis in _mixed(s)]
    found = {}
    for name in border:
        region = ancestors(graph, name)
        shape, here = facts.shape(name) or (), set(region)
        own = {classes.get(Axis(name, d)) for d, extent in enumerate(shape) if extent != 1}
        mixed = {classes.get(axis) for p, axis in mixing if p in here}
        if not (own & mixed) - {None}:
            continue
        value = facts.value(name)
        if value is None or value.dtype.kind != "f" or not np.isfinite(value).all():
            continue
        if 0 < value.nbytes <= _source(graph, facts, region) <= _SOURCES * value.nbytes:
            found[name] = value
    return found


def _is_constant(facts: ModelFacts, node: NodeProto) -> bool:
    made = [name for name in node.output if name]
    return node.op_type != "Constant" and all(facts.is_weight(name) for name in made)


def _border(graph: ModelGraph, facts: ModelFacts, constant: Iterable[int]) -> Iterator[str]:
    """Constants that a node computes and another reads that is no constant itself."""
    for position in sorted(constant):
        for name in graph.nodes[position].output:
            readers = graph.consumers.get(name, ()) if name else ()
            made = [n for k in readers for n in graph.nodes[k].output if n]
            if name not in graph.outputs and not all(facts.is_weight(n) for n in made):
                yield name


def _classes(stated: Collection[Stated]) -> dict[Axis, int]:
    """Which axes run along with one another."""
    pairs = [(s.fact.a, s.fact.b) for s in stated if isinstance(s.fact, Tie)]
    splits = (s.fact for s in stated if isinstance(s.fact, Split))
    pairs += [(split.fine, factor) for split in splits for factor in split.factors]
    number: dict[Axis, int] = {}
    for pair in pairs:
        for axis in pair:
            number.setdefault(axis, len(number))
    a, b = (_numbers(number, [pair[side] for pair in pairs]) for side in (0, 1))
    labels = components(len(number), a, b)
    return {axis: int(labels[k]) for axis, k in number.items()}


def _numbers(number: dict[Axis, int], axes: list[Axis]) -> IntArray:
    return np.array([number[axis] for axis in axes], dtype=np.int64)


def _mixed(stated: Stated) -> Iterator[Axis]:
    """Axes over which the author takes sums or statistics, or which he does not follow."""
    fact = stated.fact
    if isinstance(fact, Sink | Inexact) or (isinstance(fact, Pin) and not fact.structural):
        yield fact.axis
    if isinstance(fact, Sink) and fact.weight is not None:
        yield fact.weight


def _source(graph: ModelGraph, facts: ModelFacts, region: Iterable[int]) -> int:
    """Bytes of all that is stored for the nodes of a region."""
    names = {n for p in region for n in graph.nodes[p].input if n in graph.initializers}
    inner = (graph.nodes[p] for p in region if graph.nodes[p].op_type == "Constant")
    values = (facts.value(node.output[0]) for node in inner)
    return sum(_bytes(graph, n) for n in names) + sum(v.nbytes for v in values if v is not None)


def _bytes(graph: ModelGraph, name: str) -> int:
    tensor = graph.initializers[name]
    width: int = helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    return width * int(prod(tensor.dims))
