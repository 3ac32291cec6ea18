"""The command that hands a plan to another framework."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from onnxslim_snacs.cli.arguments import Force
from onnxslim_snacs.cli.panels import one_of
from onnxslim_snacs.cli.showing import Json
from onnxslim_snacs.cli.terminal import screen, write_stdout
from onnxslim_snacs.config.checks import EXPORTED


def export_plan(
    plan: Annotated[Path, typer.Argument(metavar="PLAN.json", help="The plan.")],
    model: Annotated[
        Path, typer.Option("--model", metavar="MODEL.onnx", help="The original that it is about.")
    ],
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="Default: PLAN.axes.json or PLAN.axes.pt.")
    ] = None,
    state_dict: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.pt", help="The original's state_dict: its names, matched by values."
        ),
    ] = None,
    format: Annotated[str, one_of("--format", EXPORTED, "What is written.")] = "json",
    json: Json = False,
    force: Force = False,
) -> None:
    """Which entries of each stored tensor stay, for pruning in the framework of the model."""
    from onnxslim_snacs.commands.export_plan import export_plan as export
    from onnxslim_snacs.report import to_json

    place = out or plan.with_name(f"{plan.stem}.axes.{'pt' if format == 'torch' else 'json'}")
    made = export(plan, model, state_dict=state_dict, format=format, out=place, overwrite=force)
    if json:
        write_stdout(to_json(made))
        return
    said = screen()
    cut = sum(bool(each.axes) for each in made.tensors.values())
    said.print(f"{cut} of {len(made.tensors)} stored tensors are cut", soft_wrap=True)
    if state_dict is not None:
        named = sum(bool(each.axes) for each in made.state.values())
        said.print(f"{named} of {len(made.state)} entries of the state are cut", soft_wrap=True)
    for name in made.unknown:
        said.print(f"not in the model: {name}", markup=False, soft_wrap=True)
    for name in made.lost:
        said.print(f"not in the state, and cut: {name}", markup=False, soft_wrap=True)
    for change in made.nodes:
        if change.what != "group":
            line = f"{change.node}: {change.what} {change.before} -> {change.after}"
            said.print(line, markup=False, soft_wrap=True)
    said.print(f"written: {place}", markup=False, soft_wrap=True)
