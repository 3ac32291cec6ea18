"""Runs as Markdown: how many ended how, each that wrote nothing, and each that wrote a model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

Row = dict[str, Any]

MEANINGS = {0: "smaller, proved, written", 3: "refused", 4: "nothing to prune"}


def markdown(rows: Sequence[Row]) -> str:
    """The table of all runs."""
    counts = Counter(row["exit"] for row in rows)
    lines = [
        f"{len(rows)} runs on {len({row['file'] for row in rows})} files.",
        "",
        "| exit code | meaning | runs |",
        "|---|---|---|",
    ]
    for code, count in sorted(counts.items(), key=lambda item: str(item[0])):
        lines.append(f"| {code} | {MEANINGS.get(code, 'fails the sweep')} | {count} |")
    lines += [
        "",
        "Runs that wrote nothing:",
        "",
        "| file | criterion | exit code | reason |",
        "|---|---|---|---|",
    ]
    for row in ordered(r for r in rows if r["exit"] != 0):
        lines.append(
            _line([row["file"], row["criterion"], str(row["exit"]), _cell(row["message"])])
        )
    lines += [
        "",
        "Runs that wrote a model (*error*: relative output error on held-out samples):",
        "",
    ]
    lines += [
        "| file | criterion | MACs kept | params kept | error | s |",
        "|---|---|---|---|---|---|",
    ]
    for row in ordered(r for r in rows if r["exit"] == 0):
        shares = [f"{row[name]:.3f}" for name in ("macs_kept", "params_kept")]
        error = "" if row.get("error") is None else f"{row['error']:.3g}"
        lines.append(
            _line([row["file"], row["criterion"], *shares, error, f"{row['seconds']:.0f}"])
        )
    return "\n".join(lines) + "\n"


def ordered(rows: Any) -> list[Row]:
    """By file; the default criterion first, for it has been run first."""
    return sorted(
        rows,
        key=lambda row: (
            row["file"],
            row["criterion"] not in ("snacs", "snacs-refit"),
            row["criterion"],
        ),
    )


def _cell(text: str) -> str:
    return text.replace("|", "/").replace("\n", " ")[:400]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
