"""What the default loses on networks that nothing was tuned to, beside random, refit and L1.

    python -m benchmarks.untouched.run NETWORKS [--macs 0.7 0.5] [--ways ...] [--readme FILE]

`NETWORKS` is the folder that `train.py` has filled.  Each network is compressed on 1,000 of the
images that it was trained on, as the README's command does, and judged by the 1,017 test images.
What is there in NETWORKS/results.json is not run again.  Two ways are held against each other by
the single answers on which they differ, over all seeds and budgets.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy.networks import NETWORKS, STAND_INS, Network, cifar_samples
from benchmarks.accuracy.run import Bench, answers_of, open_bench
from benchmarks.marked import put_into
from onnxslim_snacs.commands.compress import compress
from onnxslim_snacs.config import CompressConfig, DataConfig

#: Name -> criterion, "" for the default, and its options.
WAYS: dict[str, tuple[str, dict[str, object]]] = {
    "default": ("", {}),
    "default, hash": ("", {"conditioning": "hash"}),
    "refit": ("refit", {}),
    "l1": ("l1", {}),
    "random": ("random", {}),
}
#: Ways that draw: the mean over these seeds is told.
SEEDS = {"default": (0, 1, 2), "default, hash": (0, 1, 2), "refit": (0, 1, 2), "random": (0, 1, 2)}
NAMES = {
    "vgg": "VGG-like",
    "mobile": "MobileNetV2-like",
    "vit": "small ViT",
    "other": "ViT of others",
    "mnist": "MNIST (CNTK), stand-in",
    "words": "keywords, stand-in",
    "heard": "wake words, heard, stand-in",
}
#: Networks that others have trained, and on which no constant was chosen either; of those that are
#: given samples of another kind only agreement with the original is told.
OTHERS = {
    "other": NETWORKS["ViT"],
    "mnist": STAND_INS["MNIST (CNTK)"],
    "words": STAND_INS["keywords"],
    "heard": STAND_INS["wake words, heard"],
}
PAIRS = (("default", "default, hash"), ("default", "refit"), ("default, hash", "refit"))


@dataclass(frozen=True, slots=True)
class Asked:
    """One run.

    Attributes:
        network: its name.
        way: one of `WAYS`.
        seed: of everything that is drawn.
        budget: share of the multiply-accumulates to keep.
    """

    network: str
    way: str
    seed: int
    budget: float

    @property
    def key(self) -> str:
        """The name of its row."""
        return f"{self.network} {self.way} {self.seed} {self.budget:g}"


def runs(name: str, ways: list[str], macs: list[float]) -> Iterator[Asked]:
    """What to run on one network."""
    for seed in sorted({seed for way in ways for seed in SEEDS.get(way, (0,))}):
        for way in ways:
            for budget in macs if seed in SEEDS.get(way, (0,)) else ():
                yield Asked(name, way, seed, budget)


def run(asked: Asked, bench: Bench, threads: int) -> tuple[dict[str, Any], NDArray[np.int8]]:
    """A row, and (images,) the answers to test images and to others of the training set."""
    criterion, options = WAYS[asked.way]
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "calibration.npz"
        np.savez(data, **{bench.network.given: bench.samples.calibration})
        config = CompressConfig(
            data=DataConfig(str(data)),
            target={"macs": asked.budget},
            criterion=criterion or CompressConfig().criterion,
            options=options,
            seed=asked.seed,
            threads=threads,
        )
        start = perf_counter()
        done = compress(bench.network.path, config)
    seconds = perf_counter() - start
    images = np.concatenate([bench.samples.test, bench.samples.unseen])
    said = answers_of(done.model, images).argmax(axis=1).astype(np.int8)
    wanted = np.concatenate([bench.test, bench.unseen])
    tested = len(bench.test)
    labels = bench.samples.labels
    row = {"agreement": float((said == wanted)[:tested].mean()), "seconds": seconds}
    if labels is not None:
        row["base"] = float((bench.test == labels).mean())
        row["top1"] = float((said[:tested] == labels).mean())
    return row, said


def table(asked: list[Asked], rows: dict[str, Any]) -> list[str]:
    """A line for each network, way and budget; seeds are averaged."""
    lines = [
        "| network | top-1 before | MACs kept | criterion | top-1 | drop | agreement | s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    groups: dict[tuple[str, float, str], list[dict[str, Any]]] = {}
    for one in asked:
        if one.key in rows:
            groups.setdefault((one.network, -one.budget, one.way), []).append(rows[one.key])
    order = (list(NAMES), list(WAYS))
    for (name, less, way), found in sorted(
        groups.items(), key=lambda i: (order[0].index(i[0][0]), i[0][1], order[1].index(i[0][2]))
    ):
        agreement, seconds = (mean(row[k] for row in found) for k in ("agreement", "seconds"))
        before, after, drop = "", "", ""
        if "base" in found[0]:
            drops = [100 * (row["base"] - row["top1"]) for row in found]
            spread = f" ({min(drops):.1f} - {max(drops):.1f})" if len(found) > 1 else ""
            before, after = (f"{100 * mean(row[k] for row in found):.1f}" for k in ("base", "top1"))
            drop = f"{mean(drops):.1f}{spread}"
        lines.append(
            f"| {NAMES[name]} | {before} | {-less:g} | {way} | {after} | {drop} | "
            f"{100 * agreement:.1f} | {seconds:.0f} |"
        )
    return lines


def paired(folder: Path, asked: list[Asked], benches: dict[str, Bench]) -> list[str]:
    """A line for each network and pair of ways: answers of the original that only one gives."""
    lines = [
        "| network | MACs kept | first | second | only the first : only the second | z |",
        "|---|---|---|---|---|---|",
    ]
    for name, bench in benches.items():
        wanted = np.concatenate([bench.test, bench.unseen])
        for budget in sorted({one.budget for one in asked}, reverse=True):
            for pair in PAIRS:
                first, second = 0, 0
                for seed in (0, 1, 2):
                    files = [folder / f"{Asked(name, w, seed, budget).key}.npy" for w in pair]
                    if all(file.exists() for file in files):
                        a, b = (np.load(file) == wanted for file in files)
                        first, second = first + int((a & ~b).sum()), second + int((b & ~a).sum())
                if first + second:
                    z = (first - second) / (first + second) ** 0.5
                    lines.append(
                        f"| {NAMES[name]} | {budget:g} | {pair[0]} | {pair[1]} | "
                        f"{first} : {second} | {z:.1f} |"
                    )
    return lines


def main() -> None:
    """Run what is missing, then draw the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("networks", type=Path)
    parser.add_argument("--macs", type=float, nargs="+", default=[0.7, 0.5])
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=WAYS)
    parser.add_argument("--only", nargs="+", default=list(NAMES), choices=NAMES)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--readme", type=Path)
    given = parser.parse_args()
    kept, answers = given.networks / "results.json", given.networks / "answers"
    answers.mkdir(exist_ok=True)
    rows: dict[str, Any] = json.loads(kept.read_text()) if kept.exists() else {}
    benches: dict[str, Bench] = {}
    every: list[Asked] = []
    for name in given.only:
        path = given.networks / f"{name}.onnx"
        network = OTHERS.get(name) or Network(name, path, cifar_samples("own"))
        if not network.path.exists():
            continue
        benches[name] = open_bench(network)
        for asked in runs(name, given.ways, given.macs):
            every.append(asked)
            if asked.key in rows:
                continue
            rows[asked.key], said = run(asked, benches[name], given.threads)
            np.save(answers / f"{asked.key}.npy", said)
            kept.write_text(json.dumps(rows, indent=1) + "\n")
            print(asked.key, rows[asked.key], flush=True)
    lines = [*table(every, rows), "", *paired(answers, every, benches)]
    print("\n".join(lines))
    if given.readme is not None:
        put_into(given.readme, "table", "\n".join([*lines, ""]))


if __name__ == "__main__":
    main()
