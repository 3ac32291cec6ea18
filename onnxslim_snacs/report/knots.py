"""The network as a report shows it: layers with their widths, and what hangs together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from onnxslim_snacs.errors import foreign
from onnxslim_snacs.ir.build import DependencyGraph
from onnxslim_snacs.ir.explain import pin_reason
from onnxslim_snacs.ir.keep import KeepMap
from onnxslim_snacs.ir.types import Axis, is_virtual
from onnxslim_snacs.ir.why import Link, cause_of, chain_of, held_slots
from onnxslim_snacs.ops.analyse import Analysis
from onnxslim_snacs.plan.cost import CostModel

#: Reasons for pins of which it is shown how they reach a layer.
_CHAINS = 12


@dataclass(frozen=True, slots=True)
class LayerReport:
    """A layer that sums over channels.

    Attributes:
        name: of its node.
        op: its operator type.
        inputs: channels that it reads, before and after the cut.
        outputs: channels that it makes, likewise; None where it makes none of its own.
        macs: its multiply-accumulates, before and after.
    """

    name: str
    op: str
    inputs: tuple[int, int]
    outputs: tuple[int, int] | None
    macs: tuple[int, int]


@dataclass(frozen=True, slots=True)
class NodeReport:
    """A node on which units lie.

    Attributes:
        name: its name.
        op: its operator type.
        inputs: the tensors with units that go into it.
        outputs: those that come out of it.
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PinChain:
    """How a pin reaches a layer.

    Attributes:
        op: operator type of the node that pins.
        reason: why it does.
        links: from the layer's channels over the ties between to the pin.
    """

    op: str
    reason: str
    links: tuple[Link, ...]


@dataclass(frozen=True, slots=True)
class Knot:
    """The nodes of one group.

    Attributes:
        nodes: positions among the report's nodes.
        makers: those that make its channels.
        readers: those that sum over them.
    """

    nodes: tuple[int, ...]
    makers: tuple[int, ...]
    readers: tuple[int, ...]


def layer_reports(analysis: Analysis, costs: CostModel, keep: KeepMap) -> tuple[LayerReport, ...]:
    """Every layer with its widths, in the order of the graph."""
    whole, found = KeepMap({}), {}
    macs: dict[int, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for term in costs.macs:
        macs[term.node][0] += term.value(whole)
        macs[term.node][1] += term.value(keep)
    for part in analysis.parts():
        for position, sink in part.ir.sinks:
            made = sink.weight_out
            if made is None or sink.weight is None or (part.prefix, position) in found:
                continue
            node = part.nodes[position]
            groups = max(1, sink.groups)
            read = _width(part, sink.weight, keep)
            cost = macs[position] if part is analysis else [0.0, 0.0]
            found[part.prefix, position] = LayerReport(
                foreign(node.name),
                foreign(node.op),
                (read[0] * groups, read[1] * groups),
                _width(part, made, keep),
                (round(cost[0]), round(cost[1])),
            )
    return tuple(found.values())


def _width(part: Analysis, axis: Axis, keep: KeepMap) -> tuple[int, int]:
    extent = part.ir.table.extent(axis) if axis in part.ir.table else _declared(part, axis)
    return extent, keep.extent(axis, extent)


def _declared(part: Analysis, axis: Axis) -> int:
    shape = part.facts.shape(axis.tensor) or ()
    return (shape[axis.dim] if axis.dim < len(shape) else None) or 0


def knots(analysis: Analysis) -> tuple[tuple[NodeReport, ...], Mapping[str, Knot]]:
    """The nodes on which units lie, and which of them belong to which group."""
    on: dict[str, set[str]] = defaultdict(set)  # tensor -> groups
    by_axis: dict[Axis, set[str]] = defaultdict(set)
    for group in analysis.ir.groups:
        for member in group.members:
            by_axis[member.axis].add(group.id)
            if not is_virtual(member.axis):
                on[member.axis.tensor].add(group.id)
    nodes: list[NodeReport] = []
    lists: dict[str, tuple[list[int], list[int], list[int]]] = {
        group.id: ([], [], []) for group in analysis.ir.groups
    }
    for part in analysis.parts():
        roles = _roles(part, by_axis)
        for position, node in enumerate(part.nodes):
            inputs = tuple(dict.fromkeys(name for name in node.inputs if name in on))
            outputs = tuple(name for name in node.outputs if name in on)
            touched = {group_id for tensor in (*inputs, *outputs) for group_id in on[tensor]}
            if not touched:
                continue
            makes, reads = roles.get(position, (set(), set()))
            for name in touched:
                lists[name][0].append(len(nodes))
                if name in makes:
                    lists[name][1].append(len(nodes))
                if name in reads:
                    lists[name][2].append(len(nodes))
            nodes.append(NodeReport(foreign(node.name), foreign(node.op), inputs, outputs))
    return tuple(nodes), {name: Knot(*map(tuple, three)) for name, three in lists.items()}


def _roles(
    part: Analysis, by_axis: Mapping[Axis, set[str]]
) -> dict[int, tuple[set[str], set[str]]]:
    """Position -> groups whose channels a node makes, and those that it sums over."""
    found: dict[int, tuple[set[str], set[str]]] = defaultdict(lambda: (set(), set()))
    for position, sink in part.ir.sinks:
        if sink.weight_out is not None:
            found[position][0].update(by_axis.get(sink.weight_out, ()))
        found[position][1].update(by_axis.get(sink.axis, ()))
    return found


def pinned_slots(ir: DependencyGraph) -> Mapping[Axis, int]:
    """Axis on which units lie -> how many of its slots lie in no unit."""
    free: dict[Axis, np.ndarray[tuple[int], np.dtype[np.bool_]]] = {}
    for group in ir.groups:
        for member in group.members:
            if member.axis not in free:
                free[member.axis] = np.zeros(ir.table.extent(member.axis), dtype=np.bool_)
            free[member.axis][member.index.reshape(-1)] = True
    return {axis: int((~mask).sum()) for axis, mask in free.items()}


def pin_chains(analysis: Analysis) -> tuple[PinChain, ...]:
    """For each reason for pins, how it reaches the first layer whose channels all stay for it."""
    found: dict[tuple[str, str], PinChain] = {}
    for axis in _layer_axes(analysis):
        reason = _reason(analysis.ir, axis)
        if reason is None or reason in found:
            continue
        links = chain_of(analysis.ir, axis)
        found[reason] = PinChain(*reason, links)
        if len(found) == _CHAINS:
            break
    return tuple(found.values())


def _layer_axes(analysis: Analysis) -> Iterator[Axis]:
    for _, sink in analysis.ir.sinks:
        if sink.weight_out is not None and sink.weight_out in analysis.ir.table:
            yield sink.weight_out


def _reason(ir: DependencyGraph, axis: Axis) -> tuple[str, str] | None:
    """Operator and reason of the pin that keeps a whole axis."""
    stuck = held_slots(ir, axis)
    if not len(stuck) or len(stuck) < ir.table.extent(axis):
        return None
    found = pin_reason(ir.stated[cause_of(ir, int(stuck[0]))])
    return found.op, found.reason
