"""What can be pruned in a model, what cannot, and why."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from onnxslim_snacs.errors import UsageError, foreign
from onnxslim_snacs.ir.keep import KeepMap
from onnxslim_snacs.ir.types import PinReason
from onnxslim_snacs.ir.why import Link, chain_to_pin
from onnxslim_snacs.model.load import load_model
from onnxslim_snacs.ops.analyse import analyse
from onnxslim_snacs.plan.cost import Cost, cost_model
from onnxslim_snacs.report.make import group_reports
from onnxslim_snacs.report.report import GroupReport
from onnxslim_snacs.report.tables import print_groups, print_pins


@dataclass(frozen=True, slots=True)
class Inspection:
    """What `inspect` finds.

    Attributes:
        model: path of the model.
        cost: what it costs.
        groups: what can be pruned.
        pins: why the rest cannot.
        why: for the asked tensor the chains of ties that lead from each axis to a pin.
        note: why the model could not be run, "" if it could.
    """

    model: str
    cost: Cost
    groups: tuple[GroupReport, ...]
    pins: tuple[PinReason, ...]
    why: tuple[tuple[Link, ...], ...] = ()
    note: str = ""


def inspect(
    path: Path | str,
    *,
    input_shapes: Mapping[str, tuple[int, ...]] | None = None,
    allow_inexact: bool = False,
    why: str | None = None,
) -> Inspection:
    """Look at a model without touching it.

    Args:
        path: the .onnx file.
        input_shapes: sizes for inputs whose dynamic dimensions cannot be guessed.
        allow_inexact: as for `compress`.
        why: a tensor whose pins are to be explained.

    Raises:
        UsageError: the model has no tensor of that name.
    """
    graph = load_model(Path(path))
    analysis = analyse(graph, allow_inexact=allow_inexact, input_shapes=input_shapes)
    chains: tuple[tuple[Link, ...], ...] = ()
    if why is not None:
        shape = analysis.facts.shape(why)
        if shape is None:
            raise UsageError(f"--why {why}: the model has no tensor of that name")
        chains = chain_to_pin(analysis.ir, why, len(shape))
    costs = cost_model(analysis)
    return Inspection(
        model=str(path),
        cost=costs.cost(KeepMap({})),
        groups=group_reports(analysis, costs, KeepMap({})),
        pins=analysis.ir.pins,
        why=chains,
        note=analysis.facts.note,
    )


def inspection_to_json(result: Inspection) -> str:
    """The findings as JSON."""
    return json.dumps(asdict(result), indent=1) + "\n"


def print_inspection(result: Inspection, console: Console) -> None:
    """The findings as tables."""
    cost = result.cost
    console.print(
        f"{escape(foreign(result.model))}: {cost.params:,} parameters, {cost.macs:,} MACs, "
        f"{cost.bytes:,} bytes of weights"
    )
    print_groups(result.groups, console)
    print_pins(result.pins, console)
    if result.note:
        console.print(f"the model could not be run: {escape(result.note)}")
    for chain in result.why:
        for link in chain:
            console.print(f"  {escape(foreign(link.axis))}  {escape(link.because)}")
