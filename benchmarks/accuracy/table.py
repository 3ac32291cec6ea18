"""The rows as Markdown tables, one for each network."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks.marked import put_into

Row = dict[str, Any]
MARK = "tables"


def write_table(rows: Sequence[Row], path: Path) -> None:
    """Put the tables into the text between its marks."""
    networks = dict.fromkeys(row["case"]["network"] for row in rows)
    blocks = [
        _network(name, [r for r in rows if r["case"]["network"] == name]) for name in networks
    ]
    put_into(path, MARK, "\n".join(blocks))


def _network(name: str, rows: Sequence[Row]) -> str:
    good = [row for row in rows if "error" not in row]
    base, n = (good[0]["base"], good[0]["n"]) if good else (0.0, 1)
    error = 100 * sqrt(base * (1 - base) / n)
    budgets = sorted({row["case"]["budget"] for row in rows}, reverse=True)
    heads = ["tool", "chooser", "recovery", *(f"MACs {b:g}" for b in budgets), "seconds"]
    lines = [
        f"### {name}: {100 * base:.2f} before ({n} images, standard error {error:.1f})",
        "",
        f"| {' | '.join(heads)} |",
        "|" + "---|" * len(heads),
    ]
    for key in dict.fromkeys(_key(row) for row in rows):
        same = [row for row in rows if _key(row) == key]
        cells = [_cell([r for r in same if r["case"]["budget"] == b]) for b in budgets]
        seconds = [r["seconds"] for r in same if "seconds" in r]
        took = f"{min(seconds):.0f} - {max(seconds):.0f}" if seconds else "-"
        lines.append(f"| {' | '.join([*key, *cells, took])} |")
    return "\n".join([*lines, ""])


def _key(row: Row) -> tuple[str, str, str]:
    case = row["case"]
    return case["tool"], case["criterion"] or "-", row.get("recover", case["recover"]) or "-"


def _cell(rows: Sequence[Row]) -> str:
    """top-1 (range over seeds) / agreement / agreement on unseen images."""
    good = [row for row in rows if "error" not in row]
    if not good:
        return rows[0]["error"][:60] if rows else "-"
    top1 = [100 * row["top1"] for row in good]
    spread = f" ({min(top1):.1f} - {max(top1):.1f})" if len(top1) > 1 else ""
    same, unseen = (
        f"{100 * mean(row[what] for row in good):.1f}" for what in ("agreement", "unseen_agreement")
    )
    return f"**{mean(top1):.1f}**{spread} / {same} / {unseen}"
