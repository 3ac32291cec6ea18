"""The table of a sweep: as data, for other programs, and for people."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from onnxslim_snacs.config.plain import from_plain
from onnxslim_snacs.errors import UsageError, foreign
from onnxslim_snacs.report.report import to_json

#: Grows with what the table holds.
FORMAT = 1


@dataclass(frozen=True, slots=True)
class Row:
    """What came of one run.

    Attributes:
        model: path of the model.
        goal: what was to be reached.
        criterion: which criterion chose.
        recover: how accuracy was recovered.
        code: the exit code with which `compress` would have ended.
        reason: why nothing was written, "" if something was.
        params: share of the parameters that stays.
        macs: share of the multiply-accumulates that stays.
        bytes: share of the bytes that stays.
        rel_error: relative error of the outputs on held-out samples.
        agreement: share of them whose top-1 answer stays.
        standard_error: of that share.
        accuracy_before: of the original, where there are labels.
        accuracy_after: of the result, likewise.
        latency: time of the result in times of the original, where that was measured.
        seconds: what the run took.
        output: the model that was written, "" if none was.
    """

    model: str
    goal: str
    criterion: str
    recover: str
    code: int
    reason: str = ""
    params: float | None = None
    macs: float | None = None
    bytes: float | None = None
    rel_error: float | None = None
    agreement: float | None = None
    standard_error: float | None = None
    accuracy_before: float | None = None
    accuracy_after: float | None = None
    latency: float | None = None
    seconds: float = 0.0
    output: str = ""


def rows_to_json(rows: Sequence[Row]) -> str:
    """A table as JSON, with the number of its format."""
    return to_json({"format": FORMAT, "rows": [asdict(row) for row in rows]})


def rows_from_plain(data: Mapping[str, Any]) -> tuple[Row, ...]:
    """A table from what JSON holds.

    Raises:
        UsageError: it is none, or one of another format.
    """
    if data.get("format") != FORMAT:
        raise UsageError(f"summary format {foreign(data.get('format'))}, expected {FORMAT}")
    rows = data["rows"]
    return tuple(from_plain(Row, row, f"rows[{number}]") for number, row in enumerate(rows))


def rows_to_csv(rows: Sequence[Row]) -> str:
    """A table with a line for each row, under the names of the columns."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [f.name for f in fields(Row)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in rows)
    return text.getvalue()


def print_rows(rows: Sequence[Row], console: Console) -> None:
    """A line for each run, and below them why some wrote nothing."""
    table = Table(box=SIMPLE_HEAD)
    for column in ("model", "goal", "criterion"):
        table.add_column(column)
    for column in ("params", "macs", "error", "agreement", "top-1", "latency", "s"):
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(*(escape(foreign(text)) for text in _line(row)))
    console.print(table)
    for row in rows:
        if row.code:
            where = f"{Path(row.model).name}, {row.goal}, {row.criterion}"
            text = escape(foreign(f"{where}: exit code {row.code}")) + f": {escape(row.reason)}"
            console.print(text, soft_wrap=True)


def _line(row: Row) -> tuple[str, ...]:
    after = row.accuracy_after
    return (
        Path(row.model).name,
        row.goal,
        row.criterion,
        _percent(row.params),
        _percent(row.macs),
        "" if row.rel_error is None else f"{row.rel_error:.3g}",
        _percent(row.agreement),
        _percent(after),
        _percent(row.latency),
        f"{row.seconds:.0f}",
    )


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f} %"
