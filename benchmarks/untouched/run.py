"""What the default loses on networks that nothing was tuned to, beside random, refit and L1.

    python -m benchmarks.untouched.run NETWORKS [--macs 0.7 0.5] [--criteria ...] [--readme FILE]

`NETWORKS` is the folder that `train.py` has filled.  Each network is compressed on 1,000 of the
images that it was trained on, as the README's command does, and judged by the 1,017 test images.
What is there in NETWORKS/results.json is not run again.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import defaultdict
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks.accuracy.networks import Network, cifar_samples
from benchmarks.accuracy.run import Bench, Case, open_bench, run_ours
from benchmarks.main_command.table import put_into

CRITERIA = ("default", "refit", "l1", "random")
SEEDS = {"random": (0, 1, 2)}
NAMES = {"vgg": "VGG-like", "mobile": "MobileNetV2-like", "vit": "small ViT"}


def cases(name: str, asked: argparse.Namespace) -> list[Case]:
    """What to run on one network."""
    from onnxslim_snacs.config import CompressConfig

    found = []
    for criterion in asked.criteria:
        own = CompressConfig().criterion if criterion == "default" else criterion
        for seed in SEEDS.get(criterion, (0,)):
            found += [Case(name, criterion, own, seed, "auto", share) for share in asked.macs]
    return found


def key(case: Case) -> str:
    """The name of a row."""
    return f"{case.network} {case.tool} {case.criterion} {case.seed} {case.budget:g}"


def run(name: str, bench: Bench, asked: argparse.Namespace, rows: dict[str, Any]) -> None:
    """Fill in the rows of one network that are not there."""
    for case in cases(name, asked):
        if key(case) in rows:
            continue
        with tempfile.TemporaryDirectory() as folder:
            rows[key(case)] = run_ours(case, bench, Path(folder), asked.threads)
        print(key(case), rows[key(case)], flush=True)
        (asked.networks / "results.json").write_text(json.dumps(rows, indent=1) + "\n")


def table(asked: argparse.Namespace, rows: dict[str, Any]) -> list[str]:
    """A line for each network, criterion and budget; draws of one criterion are averaged."""
    lines = [
        "| network | top-1 before | MACs kept | criterion | top-1 | drop | agreement | s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, words in NAMES.items():
        held = defaultdict(list)
        for case in cases(name, asked):
            if "top1" in rows.get(key(case), {}):
                held[case.budget, case.tool].append(rows[key(case)])
        for (budget, criterion), found in sorted(held.items(), key=lambda item: -item[0][0]):
            base, top1, agreement, seconds = (
                mean(row[k] for row in found) for k in ("base", "top1", "agreement", "seconds")
            )
            lines.append(
                f"| {words} | {100 * base:.1f} | {budget:g} | {criterion} | {100 * top1:.1f} | "
                f"{100 * (base - top1):.1f} | {100 * agreement:.1f} | {seconds:.0f} |"
            )
    return lines


def main() -> None:
    """Run what is missing, then draw the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("networks", type=Path)
    parser.add_argument("--macs", type=float, nargs="+", default=[0.7, 0.5])
    parser.add_argument("--criteria", nargs="+", default=list(CRITERIA))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--readme", type=Path)
    asked = parser.parse_args()
    kept = asked.networks / "results.json"
    rows: dict[str, Any] = json.loads(kept.read_text()) if kept.exists() else {}
    for name in NAMES:
        path = asked.networks / f"{name}.onnx"
        if path.exists():
            run(name, open_bench(Network(name, path, cifar_samples("own"))), asked, rows)
    lines = table(asked, rows)
    print("\n".join(lines))
    if asked.readme is not None:
        text = asked.readme.read_text()
        asked.readme.write_text(put_into(text, "table", "\n".join(lines) + "\n"))


if __name__ == "__main__":
    main()
