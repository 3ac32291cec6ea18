"""The rows of the benchmark as tables."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.marked import put_into

Rows = Mapping[str, Mapping[str, Any]]
_RUNTIME = "in ONNX Runtime"
_NOT_STAGES = ("total", "cpu", "peak MiB", _RUNTIME)


def tables(rows: Mapping[str, Rows], readme: Path) -> None:
    """Put the tables into the file, between its comments."""
    drawn = {"data": _data, "no data": _no_data, "growth": _growth}
    for mark, draw in drawn.items():
        if mark in rows:
            put_into(readme, mark, draw(rows[mark]))


def _table(head: list[str], lines: list[list[str]]) -> str:
    return "".join(f"| {' | '.join(line)} |\n" for line in [head, ["---"] * len(head), *lines])


def _data(rows: Rows) -> str:
    head = ["network", "images", "threads", "forward s", "whole s", "ratio", "of CPU s", "aim"]
    head += ["runs of models", "peak MiB", "stages, in forward passes"]
    lines = []
    for row in rows.values():
        first = [row["case"], str(row["images"]), str(row["threads"])]
        if "error" in row:
            lines.append([*first, row["error"], *[""] * 7])
            continue
        stages = ", ".join(
            f"{name} {seconds / row['forward']:.2f}"
            for name, seconds in row["stages"].items()
            if name not in _NOT_STAGES and seconds >= 0.05 * row["forward"]
        )
        figures = [row["forward"], row["stages"]["total"], row["ratio"], row["cpu ratio"]]
        memory = f"{row['stages']['peak MiB']:.0f}"
        aim = f"{row['aim']:.0f}"
        runs = f"{row['stages'][_RUNTIME] / row['forward']:.2f}"
        lines.append([*first, *[f"{f:.2f}" for f in figures], aim, runs, memory, stages])
    return _table(head, lines)


def _no_data(rows: Rows) -> str:
    both = [r for r in rows.values() if not r["code"] and not r["peer code"]]
    head = ["file", "MB", "ours s", "onnxsim s", "ratio", "of CPU s", "ours MiB", "onnxsim MiB"]
    lines = []
    for row in rows.values():
        ours = f"{row['seconds']:.2f}" + (f" (exit {row['code']})" if row["code"] else "")
        theirs = f"{row['peer seconds']:.2f}" + (" (fails)" if row["peer code"] else "")
        ratios = [f"{row[k]:.2f}" if row in both else "" for k in ("ratio", "cpu ratio")]
        memory = [f"{row[k]:.0f}" for k in ("peak MiB", "peer peak MiB")]
        lines.append([row["case"], f"{row['megabytes']:.1f}", ours, theirs, *ratios, *memory])
    if not both:
        return _table(head, lines)
    worst = max(both, key=lambda r: r["ratio"])
    said = (
        f"{len(both)} files that both finish: median ratio {median(r['ratio'] for r in both):.2f} "
        f"({median(r['cpu ratio'] for r in both):.2f} of CPU seconds), largest "
        f"{worst['ratio']:.2f} ({worst['case']}).\n\n"
    )
    return said + _table(head, lines)


def _growth(rows: Rows) -> str:
    head = ["nodes", "analyse s", "ms a node", "prune s", "peak MiB"]
    lines = [
        [
            str(row["nodes"]),
            f"{row['analyse_s']:.2f}",
            f"{1000 * row['analyse_s'] / row['nodes']:.3f}",
            f"{row['prune_s']:.2f}",
            str(row["peak_mib"]),
        ]
        for row in rows.values()
    ]
    return _table(head, lines)
