"""P9 and P10: names, the order in the file and the order of channels decide nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import AttributeProto, GraphProto, ModelProto, numpy_helper

from onnxslim_snacs import CompressConfig, compress
from onnxslim_snacs.errors import NothingToPrune
from onnxslim_snacs.ir.types import Axis, IntArray, is_virtual
from onnxslim_snacs.layers.moments import FloatArray
from onnxslim_snacs.model.graph import ModelGraph, captured
from onnxslim_snacs.ops.analyse import Analysis, analyse
from onnxslim_snacs.scores.magnitude import of_producers
from tests.properties.counts import Failures, chunks, piece_name
from tests.properties.generator import sample

CONFIG = CompressConfig(criterion="l1", ratio=0.5, recover="none")
#: Axis of a tensor -> the places along it that stay.
Kept = dict[tuple[str, int], frozenset[int]]


def kept(model: ModelProto, analysis: Analysis) -> Kept:
    """What stays along every axis of every tensor, by the plan."""
    try:
        plan = compress(model, CONFIG).plan
    except NothingToPrune:
        return {}
    named = {name for node in model.graph.node for name in (*node.input, *node.output)}
    stays = {group.id: np.asarray(group.kept) for group in plan.groups}
    found: Kept = {}
    for group in analysis.ir.groups:
        for member in group.members:
            if is_virtual(member.axis) or member.axis.tensor not in named:  # by numbers, by copying
                continue
            places = member.index[stays[group.id]].ravel().tolist()
            key = member.axis.tensor, member.axis.dim
            found[key] = found.get(key, frozenset()).union(places)
    return found


def graphs(graph: GraphProto) -> Iterator[GraphProto]:
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == AttributeProto.GRAPH:
                yield from graphs(attribute.g)


def relabelled(model: ModelProto, rng: np.random.Generator) -> tuple[ModelProto, dict[str, str]]:
    """Other names for everything inside, nodes in another order that is possible, weights shuffled.

    Inputs and outputs keep their names, which are the model's interface.
    """
    out = ModelProto()
    out.CopyFrom(model)
    graph = out.graph
    fixed = {v.name for v in (*graph.input, *graph.output)}
    names = sorted(
        {n for g in graphs(graph) for node in g.node for n in (*node.input, *node.output)}
    )
    names = sorted({*names, *(t.name for t in graph.initializer)} - fixed - {""})
    new = {name: f"q{k}_" for name, k in zip(names, rng.permutation(len(names)), strict=True)}
    for inner in graphs(graph):
        for node in inner.node:
            node.name = f"n{rng.integers(1 << 60)}"
            for side in (node.input, node.output):
                side[:] = [new.get(name, name) for name in side]
        for value in (*inner.value_info, *inner.initializer, *inner.input, *inner.output):
            value.name = new.get(value.name, value.name)
    ready = {v.name for v in graph.input} | {t.name for t in graph.initializer} | {""}
    waiting, order = list(graph.node), []
    while waiting:
        able = [
            k for k, node in enumerate(waiting) if ready.issuperset((*node.input, *captured(node)))
        ]
        node = waiting.pop(able[int(rng.integers(len(able)))])
        ready.update(node.output)
        order.append(node)
    weights = [graph.initializer[int(k)] for k in rng.permutation(len(graph.initializer))]
    copies = ModelProto()
    copies.graph.node.extend(order)
    copies.graph.initializer.extend(weights)
    del graph.node[:], graph.initializer[:]
    graph.node.extend(copies.graph.node)
    graph.initializer.extend(copies.graph.initializer)
    return out, new


def p9(seed: int) -> bool:
    """The same places stay; whether anything went."""
    made = sample(seed, integer=False)
    other, new = relabelled(made.model, np.random.default_rng([seed, 9]))
    before = kept(made.model, analyse(ModelGraph(made.model)))
    after = kept(other, analyse(ModelGraph(other)))
    assert {(new.get(t, t), d): places for (t, d), places in before.items()} == after
    return bool(before)


def _norms(weight: NDArray[Any], dim: int, index: IntArray) -> FloatArray:
    """(units,) L1 norms of the slots of each unit, `index` of (units, multiplicity)."""
    rest = tuple(k for k in range(weight.ndim) if k != dim)
    found: FloatArray = np.abs(weight).sum(axis=rest)[index].sum(axis=1)
    return found


def permuted(
    model: ModelProto, analysis: Analysis, rng: np.random.Generator
) -> tuple[ModelProto, dict[tuple[str, int], np.ndarray]] | None:
    """One group's units in another order, on every stored tensor on which it lies.

    Only of a group that lies whole on its axes (a unit is a place on each of them), and whose
    norms tell its units apart: nothing makes those that a Pad puts in.
    """
    norms = of_producers(analysis, _norms, "mean", "mean")
    stored = {t.name: t for t in model.graph.initializer}
    computed = analysis.facts.weights - stored.keys()
    groups = [
        group
        for group in analysis.ir.groups
        if len(np.unique(norms[group.id])) == group.units > 1
        and not any(m.axis.tensor in computed for m in group.members)
        and all(np.array_equal(m.index, np.arange(group.units)[:, None]) for m in group.members)
    ]
    if not groups:
        return None
    group = groups[int(rng.integers(len(groups)))]
    order = rng.permutation(group.units)
    out = ModelProto()
    out.CopyFrom(model)
    places = {}
    tensors = {t.name: t for t in out.graph.initializer}
    for member in group.members:
        axis: Axis = member.axis
        places[axis.tensor, axis.dim] = order
        if axis.tensor in stored:
            tensor = tensors[axis.tensor]
            array = numpy_helper.to_array(tensor)
            whole = np.arange(array.shape[axis.dim])  # others may lie behind
            whole[: group.units] = order
            array = np.take(array, whole, axis=axis.dim)
            tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(array), tensor.name))
    return out, places


def p10(seed: int) -> bool:
    """The same channels stay, wherever they lie now; whether anything was permuted and went."""
    made = sample(seed, integer=False)
    analysis = analyse(ModelGraph(made.model))
    moved = permuted(made.model, analysis, np.random.default_rng([seed, 10]))
    if moved is None:
        return False
    other, orders = moved
    before, after = kept(made.model, analysis), kept(other, analyse(ModelGraph(other)))
    assert before.keys() == after.keys()
    for key, places in after.items():
        order = orders.get(key, np.arange(0))
        came_from = {int(order[k]) if k < len(order) else k for k in places}
        assert came_from == before[key], key
    return bool(before)


@pytest.mark.parametrize("piece", chunks(40, 2_000), ids=piece_name)
@pytest.mark.parametrize(("holds", "seldom"), [(p9, 3), (p10, 12)], ids=["p9", "p10"])
def test_order_and_names_decide_nothing(
    holds: Callable[[int], bool], seldom: int, piece: range
) -> None:
    """Few models have a group whose units can change places: one in `seldom` at the least."""
    failures, seen = Failures(), 0
    for seed in piece:
        try:
            seen += holds(seed)
        except Exception as error:
            failures.add(f"sample({seed}, False)", error)
    assert not list(failures), failures.report()
    assert seen >= len(piece) // seldom
