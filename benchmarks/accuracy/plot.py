"""Accuracy against the work that is left, drawn as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

Row = dict[str, Any]

#: Published without any training after the cut, ResNet-56 on CIFAR-10: (share of the
#: multiply-accumulates kept, drop in points); other baselines, so that only the drop compares.
PUBLISHED = {
    "He 2017 (published)": (0.5, 1.9),
    "AMC (published, from memory)": (0.5, 2.6),
    "DepGraph L1 (published)": (1 / 2.12, 93.53 - 28.08),
}


def draw(rows: Sequence[Row], path: Path) -> None:
    """One panel for each network: a line for each chooser and recovery."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "accuracy"
    from matplotlib import pyplot

    good = [row for row in rows if "error" not in row]
    networks = list(dict.fromkeys(row["case"]["network"] for row in good))
    if not networks:
        return
    figure, panels = pyplot.subplots(
        1, len(networks), figsize=(4.2 * len(networks), 4.2), squeeze=False
    )
    for panel, network in zip(panels[0], networks, strict=True):
        _panel(panel, network, [row for row in good if row["case"]["network"] == network])
    panels[0][0].set_ylabel("top-1, per cent")
    panels[0][-1].legend(fontsize=6, loc="lower right")
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


def _panel(panel: Any, network: str, rows: Sequence[Row]) -> None:
    base = 100 * rows[0]["base"]
    panel.axhline(base, color="black", linewidth=0.7)
    panel.set_title(network, fontsize=9)
    panel.set_xlabel("multiply-accumulates kept")
    keys = dict.fromkeys(_label(row) for row in rows)
    for label in keys:
        same = [row for row in rows if _label(row) == label]
        budgets = sorted({row["case"]["budget"] for row in same})
        points = [[r for r in same if r["case"]["budget"] == b] for b in budgets]
        x = [mean(r["macs"] for r in point) for point in points]
        y = [100 * mean(r["top1"] for r in point) for point in points]
        raw = "none" in label or label.endswith(("wanda", "l2"))
        panel.plot(x, y, "--" if raw else "-", marker="o", markersize=3, label=label, linewidth=1)
    if network == "ResNet-56":
        for label, (kept, drop) in PUBLISHED.items():
            panel.plot([kept], [base - drop], "*", markersize=8, label=label)


def _label(row: Row) -> str:
    case = row["case"]
    if case["tool"] != "snacs-onnx":
        return f"{case['tool']} {row.get('recover', '')}"
    return f"{case['criterion']}, {case['recover']}"
