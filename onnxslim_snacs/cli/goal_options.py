"""The options of `compress` that say how much goes, and what the result has to be."""

from __future__ import annotations

from typing import Annotated

import typer

from onnxslim_snacs.cli.panels import BUDGET_PANEL

Target = Annotated[
    list[str] | None,
    typer.Option(
        metavar="KEY=VALUE",
        help="Share to KEEP of params, macs, bytes or latency, e.g. macs=0.5 (repeatable).",
        rich_help_panel=BUDGET_PANEL,
    ),
]
UnitShare = Annotated[
    float | None,
    typer.Option(
        help="Remove this share of the units of every group.", rich_help_panel=BUDGET_PANEL
    ),
]
Auto = Annotated[
    bool,
    typer.Option(
        "--auto",
        help="Remove what --max-drop tolerates (the default).",
        rich_help_panel=BUDGET_PANEL,
    ),
]
MaxDrop = Annotated[
    float | None,
    typer.Option(
        help="Tolerated drop for --auto; 0.01 if not given.", rich_help_panel=BUDGET_PANEL
    ),
]
JudgeFunction = Annotated[
    str | None,
    typer.Option(
        metavar="module:function",
        help="What --max-drop is about: a function of yours from the bytes of a model to a "
        "number, the larger the better (recall, mAP, -WER).",
        rich_help_panel=BUDGET_PANEL,
    ),
]
AllowSlower = Annotated[
    bool,
    typer.Option(
        "--allow-slower",
        help="With --target latency: write it in any case.",
        rich_help_panel=BUDGET_PANEL,
    ),
]
Protect = Annotated[
    list[str] | None,
    typer.Option(
        metavar="GLOB",
        help="Nodes or tensors that keep all (repeatable).",
        rich_help_panel=BUDGET_PANEL,
    ),
]
MultipleOf = Annotated[
    str,
    typer.Option(
        metavar="N|auto",
        help="Round kept channels up to multiples; auto: those that this machine runs fastest.",
        rich_help_panel=BUDGET_PANEL,
    ),
]
Require = Annotated[
    list[str] | None,
    typer.Option(
        metavar="'NAME>=X'",
        help="Write nothing and end with code 8 unless the result has e.g. 'agreement>=0.98', "
        "'accuracy>=0.9', 'metric>=0.9', 'error<=0.1' (repeatable).",
        rich_help_panel=BUDGET_PANEL,
    ),
]
