"""Every group with what is kept of it and what it weighs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from onnxslim_snacs.ir.build import DependencyGraph
from onnxslim_snacs.ir.keep import KeepMap
from onnxslim_snacs.ir.types import Axis, Group, is_virtual
from onnxslim_snacs.ops.analyse import Analysis
from onnxslim_snacs.plan.cost import CostModel, Term
from onnxslim_snacs.report.knots import knots, pinned_slots
from onnxslim_snacs.report.report import GroupReport


def group_reports(analysis: Analysis, costs: CostModel, keep: KeepMap) -> tuple[GroupReport, ...]:
    """Describe the groups of a model.

    Args:
        analysis: the model.
        costs: its cost terms.
        keep: what is kept.
    """
    layers = _layers(analysis)
    params, macs = _Savings.of(costs.params), _Savings.of(costs.macs)
    pinned = {str(axis): count for axis, count in pinned_slots(analysis.ir).items()}
    _, tied = knots(analysis)
    found = []
    for group in analysis.ir.groups:
        real = [member for member in group.members if not is_virtual(member.axis)]
        one = _all_but_one_gone(analysis.ir, group)
        found.append(
            GroupReport(
                id=group.id,
                label=group.label,
                layer=min((layers[m.axis] for m in real if m.axis in layers), default=(0, ""))[1],
                axes=tuple(str(member.axis) for member in real),
                units=group.units,
                kept=_kept(analysis.ir, group, keep),
                params=round(params.by(one)),
                macs=round(macs.by(one)),
                pinned=pinned.get(group.label, 0),
                nodes=tied[group.id].nodes,
                makers=tied[group.id].makers,
                readers=tied[group.id].readers,
            )
        )
    return tuple(found)


def _layers(analysis: Analysis) -> Mapping[Axis, tuple[int, str]]:
    """Axes that make channels -> position and name of the first node that reads them."""
    found: dict[Axis, tuple[int, str]] = {}
    for part in analysis.parts():
        for position, sink in part.ir.sinks:
            if sink.weight_out is not None:
                found.setdefault(sink.weight_out, (position, part.nodes[position].name))
    return found


def _kept(ir: DependencyGraph, group: Group, keep: KeepMap) -> int:
    """How many units of the group stay: those of which any slot is left.

    Groups may lie across each other, as the heads of an attention and the channels of a head do: a
    head that has lost channels is still there.
    """
    stays = np.zeros(group.units, dtype=bool)
    for member in group.members:
        if is_virtual(member.axis):
            continue
        index = keep.index(member.axis)
        if index is None:
            return group.units
        mask = np.zeros(ir.table.extent(member.axis), dtype=bool)
        mask[index] = True
        stays |= mask[member.index].any(axis=1)
    return int(stays.sum())


def _all_but_one_gone(ir: DependencyGraph, group: Group) -> KeepMap:
    kept = {}
    for member in group.members:
        mask = np.ones(ir.table.extent(member.axis), dtype=bool)
        mask[member.index[1:]] = False
        kept[member.axis] = np.flatnonzero(mask)
    return KeepMap(kept)


@dataclass(frozen=True, slots=True)
class _Savings:
    """Cost terms by the tensors that they depend on: a group touches few of a large model's."""

    terms: tuple[Term, ...]
    users: Mapping[str, list[int]] = field(default_factory=dict)

    @staticmethod
    def of(terms: tuple[Term, ...]) -> _Savings:
        users: dict[str, list[int]] = {}
        for number, term in enumerate(terms):
            for tensor in {axis.tensor for axis, _ in term.axes}:
                users.setdefault(tensor, []).append(number)
        return _Savings(terms, users)

    def by(self, keep: KeepMap) -> float:
        """How much less the terms come to."""
        nothing = KeepMap({})
        touched = {n for axis in keep.kept for n in self.users.get(axis.tensor, ())}
        return sum(self.terms[n].value(nothing) - self.terms[n].value(keep) for n in touched)
