"""From what a run knows to its report."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

import numpy as np

from onnxslim_snacs.activations.sources import CalibrationSource
from onnxslim_snacs.config import CompressConfig
from onnxslim_snacs.drift import Drift
from onnxslim_snacs.ir.keep import KeepMap, keep_map
from onnxslim_snacs.ir.types import Group, is_virtual
from onnxslim_snacs.ops.analyse import Analysis
from onnxslim_snacs.plan.choose import Choice
from onnxslim_snacs.plan.cost import CostModel
from onnxslim_snacs.report.report import GroupReport, Report
from onnxslim_snacs.verify import Proof

#: The warning that nobody may overlook.
NO_DATA = (
    "no --data: random inputs are used, and what they say about accuracy means little; give some "
    "samples of real data"
)


def decision_notes(config: CompressConfig, choice: Choice) -> dict[str, object]:
    """What the decision has to tell."""
    notes: dict[str, object] = {}
    if choice.exceeded:
        notes["limits_exceeded"] = {
            name: {"limit": limit, "removed": removed}
            for name, (limit, removed) in choice.exceeded.items()
        }
    if choice.tried:
        notes["tried"] = [{"share": share, "drop": drop} for share, drop in choice.tried]
        notes["max_drop"] = config.max_drop
    return notes


def warnings_of(source: CalibrationSource, analysis: Analysis) -> tuple[str, ...]:
    """What the user should know."""
    found = []
    if source.is_random:
        found.append(NO_DATA)
    if not analysis.facts.ran:
        found.append(
            "ONNX Runtime does not have an operator of this model: the proof leaves it out, and "
            f"nothing was compared end to end ({analysis.facts.note})"
        )
    return tuple(found)


def make_report(
    analysis: Analysis,
    costs: CostModel,
    keep: KeepMap,
    proof: Proof | None,
    moved: Drift | None,
    *,
    path: str,
    out: Path | str | None,
) -> Report:
    """The report on a cut."""
    return Report(
        model=path,
        output=None if out is None else str(out),
        before=costs.cost(KeepMap({})),
        after=costs.cost(keep),
        groups=group_reports(analysis, costs, keep),
        pins=analysis.ir.pins,
        proof=proof,
        drift=moved,
        criterion="",
        versions=versions(),
    )


def group_reports(analysis: Analysis, costs: CostModel, keep: KeepMap) -> tuple[GroupReport, ...]:
    """Every group with what is kept of it and what it weighs."""
    before = costs.cost(KeepMap({}))
    found = []
    for group in analysis.ir.groups:
        real = [m for m in group.members if not is_virtual(m.axis)]
        index = keep.index(real[0].axis)
        kept = group.units
        if index is not None:
            stays = set(index.tolist())
            kept = sum(all(int(s) in stays for s in row) for row in real[0].index)
        one = keep_map(analysis.ir, {group.id: _all_but_first(group)}) if group.units > 1 else None
        without = costs.cost(one) if one is not None else before
        found.append(
            GroupReport(
                id=group.id,
                label=group.label,
                axes=tuple(str(m.axis) for m in real),
                units=group.units,
                kept=kept,
                params=before.params - without.params,
                macs=before.macs - without.macs,
            )
        )
    return tuple(found)


def _all_but_first(group: Group):  # type: ignore[no-untyped-def]

    return np.arange(group.units) == 0


def versions() -> Mapping[str, str]:
    """Versions of this package and those that it stands on."""
    found = {}
    for name in ("onnxslim-snacs", "onnx", "onnxruntime", "onnxruntime-gpu", "numpy", "torch"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
