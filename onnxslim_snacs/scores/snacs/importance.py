"""From connections to units: importance flows backwards through the graph (method 3.6).

Outputs come first.  A layer hands the importance of each child to its parents in the proportion of
the row-normalised connectivity; every other operator hands it on slot by slot, as its ties say; a
tensor that several nodes read sums what they send back.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from onnxslim_snacs.ir.table import SlotTable
from onnxslim_snacs.ir.types import Axis, Group, Sink, Split, Tie
from onnxslim_snacs.ops.analyse import Analysis

#: (position of a node, the axis that it sums over) -> (C, P) connectivity: an Einsum may sum over
#: several axes, each with parents of its own.
Connectivity = Mapping[tuple[int, Axis], NDArray[np.float64]]


def axis_importance(analysis: Analysis, rho: Connectivity) -> dict[Axis, NDArray[np.float64]]:
    """Importance of every slot of every tensor axis.

    Args:
        analysis: the model.
        rho: layers' connectivity.

    Returns:
        axis -> (slots,) importance; axes that nothing important depends on are absent.
    """
    table = analysis.ir.table
    importance: dict[Axis, NDArray[np.float64]] = {}
    for name in analysis.graph.outputs:
        for dim, extent in enumerate(analysis.facts.shape(name) or ()):
            if extent and extent > 1:
                importance[Axis(name, dim)] = np.full(extent, 1.0 / extent)
    by_node: dict[int, list[Tie | Split | Sink]] = {}
    for item in analysis.ir.stated:
        if isinstance(item.fact, Tie | Split | Sink):
            by_node.setdefault(item.node, []).append(item.fact)
    layers = {position for position, _ in rho}
    for position in range(len(analysis.nodes) - 1, -1, -1):
        outputs = set(analysis.nodes[position].outputs)
        facts = sorted(by_node.get(position, ()), key=lambda f: _order(f, outputs))
        layer = position in layers
        for fact in facts:
            if layer and not isinstance(fact, Sink):
                continue
            if isinstance(fact, Sink):
                _through_layer(importance, table, fact, rho.get((position, fact.axis)))
            elif isinstance(fact, Tie):
                _through_tie(importance, table, fact, outputs)
            else:
                _through_split(importance, table, fact, outputs)
    return importance


def _order(fact: Tie | Split | Sink, outputs: set[str]) -> int:
    """Split outputs first: virtual factors carry their importance on to the inputs."""
    return 0 if isinstance(fact, Split) and fact.fine.tensor in outputs else 1


def _add(
    importance: dict[Axis, NDArray[np.float64]], axis: Axis, values: NDArray[np.float64]
) -> None:
    importance[axis] = importance[axis] + values if axis in importance else values


def _through_layer(
    importance: dict[Axis, NDArray[np.float64]],
    table: SlotTable,
    sink: Sink,
    rho: NDArray[np.float64] | None,
) -> None:
    """importance(p) = sum over c of importance(c) rho[c, p] / sum over p of rho[c, p]."""
    if rho is None or sink.out is None or sink.out not in importance:
        return
    made = importance[sink.out]
    if sink.axis not in table or rho.shape != (len(made), table.extent(sink.axis)):
        return
    share = rho / np.maximum(rho.sum(axis=1, keepdims=True), np.finfo(np.float64).tiny)
    _add(importance, sink.axis, made @ share)


def _through_tie(
    importance: dict[Axis, NDArray[np.float64]], table: SlotTable, tie: Tie, outputs: set[str]
) -> None:
    """What a node's output slots are worth, its input slots are worth too."""
    source, target, index, into = tie.b, tie.a, tie.ib, tie.ia
    if tie.a.tensor in outputs:
        source, target, index, into = tie.a, tie.b, tie.ia, tie.ib
    known = source in importance and target in table and source in table
    if not known or source.tensor not in outputs or target.tensor in outputs:
        return
    values = importance[source] if index is None else importance[source][index]
    result = np.zeros(table.extent(target))
    np.add.at(result, np.arange(len(result)) if into is None else into, values)
    _add(importance, target, result)


def _through_split(
    importance: dict[Axis, NDArray[np.float64]], table: SlotTable, split: Split, outputs: set[str]
) -> None:
    """A merged axis hands each factor its sums; a split one gets the product of its factors."""
    if any(axis not in table for axis in (split.fine, *split.factors)):
        return
    extents = [table.extent(axis) for axis in split.factors]
    if split.fine in importance and split.fine.tensor in outputs:
        cube = importance[split.fine].reshape(extents)
        for position, axis in enumerate(split.factors):
            others = tuple(d for d in range(cube.ndim) if d != position)
            _add(importance, axis, cube.sum(axis=others))
        return
    made = [importance.get(axis) for axis in split.factors]
    if split.fine.tensor in outputs or all(values is None for values in made):
        return
    total = next(float(v.sum()) for v in made if v is not None)
    cube = np.full(extents, total)
    for position, values in enumerate(made):
        spread = [1] * len(extents)
        spread[position] = -1
        part = np.full(extents[position], 1.0 / extents[position]) if values is None else values
        cube = cube * (part / max(float(part.sum()), np.finfo(np.float64).tiny)).reshape(spread)
    _add(importance, split.fine, cube.reshape(-1))


def unit_scores(
    group: Group, sinks: list[Axis], values: Mapping[Axis, NDArray[np.float64]]
) -> NDArray[np.float64]:
    """(units,) the importance that reaches a group's slots through the layers that read them."""
    total = np.zeros(group.units)
    for axis in dict.fromkeys(sinks):
        index = group.on(axis)
        if index is not None and axis in values:
            total += values[axis][index].sum(axis=1)
    return total
