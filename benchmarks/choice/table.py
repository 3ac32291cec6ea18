"""The cuts as a Markdown table."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean
from typing import Any

Row = dict[str, Any]


def print_table(rows: Sequence[Row]) -> None:
    """One line for each network, allocation and criterion; top-1 / agreement in per cent.

    Seeds are averaged; the smallest and the largest top-1 stand beside the mean.
    """
    budgets = sorted({row["wanted"] for row in rows}, reverse=True)
    heads = ["network", "allocation", "criterion", *(f"MACs {b:g}" for b in budgets), "score s"]
    print("|", " | ".join(heads), "|")
    print("|" + "---|" * len(heads))
    lines = dict.fromkeys((r["model"], r["allocation"], r["criterion"]) for r in rows)
    for model, allocation, criterion in sorted(lines, key=lambda k: (k[0], k[1])):
        same = [
            r
            for r in rows
            if (r["model"], r["allocation"], r["criterion"]) == (model, allocation, criterion)
        ]
        cells = [_cell([r for r in same if r["wanted"] == b]) for b in budgets]
        seconds = mean(r["score_seconds"] for r in same)
        print(f"| {model} | {allocation} | {criterion} |", " | ".join(cells), f"| {seconds:.1f} |")


def _cell(rows: Sequence[Row]) -> str:
    top1, agreement = ([100 * r[what] for r in rows] for what in ("top1", "agreement"))
    spread = f" ({min(top1):.1f} - {max(top1):.1f})" if len(rows) > 1 else ""
    return f"{mean(top1):.1f}{spread} / {mean(agreement):.1f}"
