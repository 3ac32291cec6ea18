"""`compare` on the networks at hand, and a table of what it found.

    python -m benchmarks.compare.run ResNet-20 ResNet-8 --out out/compare
    python -m benchmarks.compare.run --table --out out/compare

Each network gets a folder, so that a run that was ended goes on where it was.  Networks with images
of their own are judged on images that compression has not seen, 4,000 without and 1,017 with
labels; stand-ins on samples of another kind, where only agreement with the original can be told.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from benchmarks.accuracy.networks import NETWORKS, STAND_INS
from onnxslim_snacs.commands.compare import compare
from onnxslim_snacs.config import DataConfig
from onnxslim_snacs.config.comparison import CompareConfig
from onnxslim_snacs.report.trials import Trials

ALL = {**NETWORKS, **STAND_INS}


def run(name: str, folder: Path, arguments: argparse.Namespace) -> Trials:
    """Compare on one network."""
    network = ALL[name]
    samples, given = network.samples(), network.given
    folder.mkdir(parents=True, exist_ok=True)
    places = {key: folder / f"{key}.npz" for key in ("calibration", "test", "unseen")}
    for key, place in places.items():
        arrays = {given: getattr(samples, key)}
        if key == "test" and samples.labels is not None:
            arrays["labels"] = samples.labels
        if not place.exists():
            np.savez(place, **arrays)
    config = CompareConfig(
        data=DataConfig(str(places["calibration"])),
        tests=(str(places["unseen"]), str(places["test"])),
        targets=tuple({"macs": share} for share in arguments.macs),
        criteria=tuple(arguments.criteria),
        recover=tuple(arguments.recover),
        seeds=arguments.seeds,
        repeats=arguments.repeats,
        tries=arguments.tries,
    )
    return compare(network.path, config, out=folder / "results")


def rows(name: str, report: Path) -> list[str]:
    """Lines of the table."""
    found = json.loads(report.read_text())
    lines = []
    for row in found["standings"]:
        if row["good"] is None:
            lines.append(f"| {name} | {row['target']} | {row['criterion']} | {row['error']} |")
            continue
        cells = [name, row["target"], row["criterion"], row["recover"]]
        for key, scale, digits in (("good", 100, 2), ("top1", 100, 2), ("behind", 100, 2)):
            value = row[key]
            text = "" if value is None else f"{scale * value[0]:.{digits}f}"
            more = value is not None and value[1] > 0
            cells.append(text + (f" ± {scale * value[1]:.{digits}f}" if more else ""))
        cells.append(f"{row['rel_error'][0]:.4f}")
        cells += ["" if row[k] is None else f"{row[k]:.2f}" for k in ("damage", "damage_refit")]
        lines.append("| " + " | ".join([*cells, f"{row['seconds']:.1f}"]) + " |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("networks", nargs="*", default=[])
    parser.add_argument("--out", type=Path, default=Path("out/compare"))
    parser.add_argument("--macs", type=float, nargs="+", default=[0.7, 0.5])
    parser.add_argument("--criteria", nargs="*", default=[])
    parser.add_argument("--recover", nargs="+", default=["none", "auto"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--tries", type=int, default=5)
    parser.add_argument("--table", action="store_true")
    arguments = parser.parse_args()
    for name in arguments.networks:
        done = run(name, arguments.out / name.replace(" ", "_"), arguments)
        print(f"{name}: {done.advice}", flush=True)
    if arguments.table:
        print(
            "| network | budget | criterion | recover | agree % | top-1 % | behind the best | "
            "rel. error | damage | re-fitted | s |\n|---|---|---|---|---|---|---|---|---|---|---|"
        )
        for report in sorted(arguments.out.glob("*/results/report.json")):
            print("\n".join(rows(report.parent.parent.name, report)))


if __name__ == "__main__":
    main()
