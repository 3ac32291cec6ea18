"""How options stand in `--help`: in panels, with their choices, and the exit codes below."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import typer

DATA_PANEL, BUDGET_PANEL, METHOD_PANEL = "Data", "How much goes", "Method"
OUTPUT_PANEL, MACHINE_PANEL = "Output", "Machine"

#: What the codes say with which a command ends.
EXIT_CODES = {
    0: "done",
    1: "a fault of ours",
    2: "options that make no sense",
    3: "model, data or plan refused",
    4: "nothing can go, or not as much",
    5: "the proof failed",
    6: "a file cannot be read or written",
    7: "a limit on memory, time or size",
    8: "the result misses --require",
}
EPILOG = "Exit codes: " + " · ".join(f"{code} {words}" for code, words in EXIT_CODES.items())


def one_of(option: str, values: Sequence[str], words: str, panel: str | None = None) -> Any:
    """An option that is one of a few words: listed, checked and completed."""
    return typer.Option(
        option,
        metavar="|".join(values),
        parser=_among(option, values),
        autocompletion=lambda: list(values),
        help=words,
        rich_help_panel=panel,
    )


def _among(option: str, values: Sequence[str]) -> Callable[[str], str]:
    def choice(text: str) -> str:
        if text not in values:
            raise typer.BadParameter(f"{text!r} is not one of {', '.join(values)}")
        return text

    return choice


def criteria_names() -> list[str]:
    """What `--criterion` may name, for the completion of shells."""
    from onnxslim_snacs.scores import CRITERIA

    return list(CRITERIA)
