"""What compare has found as tables."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from onnxslim_snacs.errors import foreign
from onnxslim_snacs.report.trials import TrialRow, Trials


def print_trials(done: Trials, console: Console) -> None:
    """The standings as a table, and the advice."""
    console.print(escape(foreign(done.model)), soft_wrap=True)
    what = "agree" if done.is_top1 else "1 - error"
    for target in dict.fromkeys(row.target for row in done.standings):
        table = Table(box=SIMPLE_HEAD, title=escape(target), title_justify="left")
        columns = ["criterion", "recover", what, "rel. error"]
        columns += [f"top-1 of {100 * done.top1:.2f}"] if done.top1 is not None else []
        columns += ["behind"] if done.is_top1 else []
        for column in [*columns, "damage", "re-fitted", "s", ""]:
            table.add_column(column, justify="left" if column in columns[:2] else "right")
        rows = [row for row in done.standings if row.target == target]
        for row in sorted(rows, key=lambda r: -r.value):
            table.add_row(*_cells(row, done))
        console.print(table)
    console.print(escape(foreign(done.advice)), soft_wrap=True)
    console.print(
        f"compared on {done.samples} samples; *: nothing is both quicker and better; damage: rank "
        "correlation of scores with the error of taking single units away, raw and re-fitted",
        soft_wrap=True,
    )
    console.print(f"written: {escape(foreign(done.folder))}", soft_wrap=True)


def _cells(row: TrialRow, done: Trials) -> list[str]:
    head = [escape(row.criterion), row.recover]
    if row.good is None:
        return [*head, escape(foreign(row.error))]
    cells = [*head, _spread(row.good, 100), _spread(row.rel_error, 1)]
    cells += [_spread(row.top1, 100)] if done.top1 is not None else []
    cells += [_spread(row.behind, 100)] if done.is_top1 else []
    cells += [_number(row.damage), _number(row.damage_refit), f"{row.seconds:.1f}"]
    return [*cells, "*" if row.best else ""]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _spread(value: tuple[float, float] | None, scale: float) -> str:
    if value is None:
        return ""
    digits = 2 if scale == 100 else 4
    mean, spread = (scale * number for number in value)
    return f"{mean:.{digits}f}" + (f" ± {spread:.{digits}f}" if spread else "")
