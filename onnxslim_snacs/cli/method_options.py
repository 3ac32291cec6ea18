"""The options of `compress` that say how it is done."""

from __future__ import annotations

from typing import Annotated

import typer

from onnxslim_snacs.cli.panels import METHOD_PANEL, criteria_names, one_of
from onnxslim_snacs.config import ALLOCATIONS, BLOCK_ORDERS, RECOVER, WIDTHS
from onnxslim_snacs.config.spending import EFFORTS

CriterionName = Annotated[
    str,
    typer.Option(
        help="What orders units: see `snacs-onnx criteria`.",
        autocompletion=criteria_names,
        rich_help_panel=METHOD_PANEL,
    ),
]
Allocation = Annotated[
    str,
    one_of(
        "--allocation",
        ALLOCATIONS,
        "How groups share the cut: by measured curves, all the same, or by scores.",
        METHOD_PANEL,
    ),
]
Tries = Annotated[
    int,
    typer.Option(
        help="With --target: allocations that are recovered and compared.",
        rich_help_panel=METHOD_PANEL,
    ),
]
EffortName = Annotated[
    str,
    one_of(
        "--effort",
        tuple(EFFORTS),
        "fast takes two thirds of the time and costs some agreement where the cut is deep.",
        METHOD_PANEL,
    ),
]
CriterionOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="KEY=VALUE",
        help="An option of the criterion, see `snacs-onnx criteria` (repeatable).",
        rich_help_panel=METHOD_PANEL,
    ),
]
Recover = Annotated[
    str, one_of("--recover", RECOVER, "How what is left is re-fitted.", METHOD_PANEL)
]
Blocks = Annotated[
    bool,
    typer.Option(
        "--blocks",
        help="Drop whole blocks as well: residual branches and the like.",
        rich_help_panel=METHOD_PANEL,
    ),
]
BlockOrder = Annotated[
    str,
    one_of(
        "--block-order",
        BLOCK_ORDERS,
        "In which order they go: by errors that are measured, or by statistics.",
        METHOD_PANEL,
    ),
]
DropCount = Annotated[
    int | None,
    typer.Option(
        metavar="N", help="With --blocks: how many of them go.", rich_help_panel=METHOD_PANEL
    ),
]
FinetuneMinutes = Annotated[
    float | None,
    typer.Option(
        metavar="MINUTES",
        help="Train what is left by the original; Ctrl-C keeps the best.",
        rich_help_panel=METHOD_PANEL,
    ),
]
Width = Annotated[
    str,
    one_of(
        "--width",
        WIDTHS,
        "The width of transformers: it stays, norms are re-fitted, or streams are rotated.",
        METHOD_PANEL,
    ),
]
Simplify = Annotated[
    bool,
    typer.Option(
        "--simplify",
        help="Let onnxslim fold and fuse the model first, proved to be the same.",
        rich_help_panel=METHOD_PANEL,
    ),
]
