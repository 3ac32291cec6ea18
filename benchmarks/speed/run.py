"""What a run costs: beside the plain forward pass with data, beside onnxsim without.

    python -m benchmarks.speed.run [--threads 1 2] [--rounds 3] [--only NAME ...]
        [--zoo DIR] [--onnxsim PYTHON] [--limit SECONDS] [--table-only]

Every figure comes from a process of its own; what is compared alternates.  Writes out/speed.json
and the tables in README.md.  DIR holds networks of random weights; without it, a ResNet-50 is made.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import onnx

from benchmarks.common import SHARED, cifar_images
from benchmarks.speed.resnet50 import resnet50
from benchmarks.speed.tables import tables

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Case:
    """A run with data.

    Attributes:
        name: in the table.
        model: file, below the shared models or the folder of random networks.
        images: how many.
        recover: as the option of that name.
        aim: total, in plain forward passes.
    """

    name: str
    model: str
    images: int
    recover: str
    aim: float


CASES = (
    Case("ResNet-50", "resnet50.onnx", 256, "auto", 8.0),
    Case("ResNet-56", "cifar10_akamaster_resnet56_ts17_bn.onnx", 1000, "auto", 6.0),
    Case("ResNet-56, no recovery", "cifar10_akamaster_resnet56_ts17_bn.onnx", 1000, "none", 2.0),
    Case("YOLOX-nano", "det_yolox_nano.onnx", 64, "auto", 10.0),
)


def find_model(name: str, folder: Path, zoo: Path | None) -> Path:
    """The file; a ResNet-50 is made where there is none."""
    for place in (SHARED / "models", *([zoo] if zoo else [])):
        if (place / name).exists():
            return place / name
    onnx.save(resnet50(), folder / name)
    return folder / name


def save_images(model: Path, count: int, folder: Path) -> Path:
    """CIFAR-10 images where they have the size, noise elsewhere: for time it does not matter."""
    graph = onnx.load(model).graph
    weights = {t.name for t in graph.initializer}
    given = next(v for v in graph.input if v.name not in weights)
    shape = [d.dim_value for d in given.type.tensor_type.shape.dim][1:]
    if shape == [3, 32, 32]:
        images = cifar_images("train", "imagenet", count)[0]
    else:
        images = np.random.default_rng(0).standard_normal((count, *shape), np.float32)
    np.savez(folder / "images.npz", **{given.name: images})
    return folder / "images.npz"


def environment(**more: str) -> dict[str, str]:
    """That of this process, but compiled modules are kept, as in a package that is installed."""
    kept = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PYTHONPYCACHEPREFIX": str(ROOT / "out" / "compiled"), **more}


def staged(what: Sequence[str], threads: int, limit: float) -> Row:
    """Run `stages` in a process of its own."""
    ended = subprocess.run(
        [sys.executable, "-m", "benchmarks.speed.stages", *what],
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=limit,
        env=environment(OMP_NUM_THREADS=str(threads)),
    )
    if ended.returncode:
        return {"error": ended.stderr.strip().splitlines()[-1][:200]}
    found: Row = json.loads(ended.stdout.splitlines()[-1])
    return found


def with_data(arguments: argparse.Namespace, keep: Callable[[str, str, Row], None]) -> None:
    """Plain passes and whole runs in turn; medians of both."""
    for case in CASES:
        if arguments.only and case.name not in arguments.only:
            continue
        with tempfile.TemporaryDirectory() as name:
            model = find_model(case.model, Path(name), arguments.zoo)
            data = save_images(model, case.images, Path(name))
            for threads in arguments.threads:
                common = (str(model), str(data), str(threads))
                rounds = [
                    (
                        staged(("plain", *common), threads, arguments.limit),
                        staged(("whole", *common, case.recover), threads, arguments.limit),
                    )
                    for _ in range(arguments.rounds)
                ]
                row = {
                    "case": case.name,
                    "images": case.images,
                    "threads": threads,
                    "aim": case.aim,
                }
                keep("data", f"{case.name} {threads}", {**row, **middle(rounds)})


def middle(rounds: Sequence[tuple[Row, Row]]) -> Row:
    """Medians of the plain passes and of each stage."""
    failed = [row["error"] for pair in rounds for row in pair if "error" in row]
    if failed:
        return {"error": failed[0]}
    stages = {name: median(run[name] for _, run in rounds) for name in rounds[0][1]}
    return {
        "forward": median(plain["total"] for plain, _ in rounds),
        "forward cpu": median(plain["cpu"] for plain, _ in rounds),
        "ratio": median(run["total"] / plain["total"] for plain, run in rounds),
        "cpu ratio": median(run["cpu"] / plain["cpu"] for plain, run in rounds),
        "stages": stages,
    }


def without_data(arguments: argparse.Namespace, keep: Callable[[str, str, Row], None]) -> None:
    """Whole processes beside onnxsim's."""
    files = sorted((SHARED / "models").glob("*.onnx"))
    files += sorted(arguments.zoo.glob("*.onnx")) if arguments.zoo else []
    for path in files:
        if arguments.only and path.stem not in arguments.only:
            continue
        with tempfile.TemporaryDirectory() as name:
            out = str(Path(name) / "out.onnx")
            ours = [sys.executable, "-m", "onnxslim_snacs", "compress", str(path), "--out", out]
            ours += ["--ratio", "0.5", "--criterion", "l1", "--recover", "none", "--force"]
            theirs = [arguments.onnxsim, str(HERE / "peer.py"), str(path), out]
            pairs = []
            for _ in range(arguments.rounds):
                pairs.append([timed(command, arguments.limit) for command in (ours, theirs)])
                if pairs[-1][0]["code"]:
                    break
        done = {"case": path.stem, "megabytes": path.stat().st_size / 2**20}
        mine, other = ([pair[k] for pair in pairs] for k in (0, 1))
        done["code"], done["peer code"] = mine[0]["code"], other[0]["code"]
        for key, rows in (("", mine), ("peer ", other)):
            done[f"{key}seconds"] = median(row["seconds"] for row in rows)
            done[f"{key}cpu"] = median(row["cpu"] for row in rows)
            done[f"{key}peak MiB"] = max(row["peak MiB"] for row in rows)
        done["ratio"] = median(a["seconds"] / b["seconds"] for a, b in pairs)
        done["cpu ratio"] = median(a["cpu"] / b["cpu"] for a, b in pairs)
        keep("no data", path.stem, done)


_WRAP = """
import json, os, resource, subprocess, sys, time
start = time.perf_counter()
code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps({"code": code, "seconds": time.perf_counter() - start,
  "cpu": used.ru_utime + used.ru_stime, "peak MiB": used.ru_maxrss / 1024}))
"""


def timed(command: Sequence[str], limit: float) -> Row:
    """Seconds, CPU seconds and peak memory of a process."""
    try:
        ended = subprocess.run(
            [sys.executable, "-c", _WRAP, *command],
            check=True,
            capture_output=True,
            text=True,
            cwd=ROOT,
            timeout=limit,
            env=environment(),
        )
    except subprocess.TimeoutExpired:
        return {"code": -1, "seconds": limit, "cpu": limit, "peak MiB": 0.0}
    found: Row = json.loads(ended.stdout)
    return found


def growth(keep: Callable[[str, str, Row], None]) -> None:
    """Seconds of the analysis by number of nodes."""
    for nodes in (1_000, 5_000, 20_000):
        command = [sys.executable, str(ROOT / "benchmarks" / "coverage" / "growth.py")]
        ended = subprocess.run(
            [*command, str(nodes), "--here"], capture_output=True, text=True, check=True
        )
        keep("growth", str(nodes), json.loads(ended.stdout.splitlines()[-1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="*", help="cases, or files by their stems")
    parser.add_argument("--parts", nargs="+", default=["data", "no data", "growth"])
    parser.add_argument("--zoo", type=Path)
    parser.add_argument("--onnxsim", help="a Python with onnxsim")
    parser.add_argument("--limit", type=float, default=1800.0)
    parser.add_argument("--table-only", action="store_true")
    arguments = parser.parse_args()
    saved = ROOT / "out" / "speed.json"
    saved.parent.mkdir(exist_ok=True)
    rows: dict[str, dict[str, Row]] = json.loads(saved.read_text()) if saved.exists() else {}

    def keep(part: str, name: str, row: Row) -> None:
        rows.setdefault(part, {})[name] = row
        saved.write_text(json.dumps(rows, indent=1))
        print(part, name, json.dumps(row), flush=True)

    if not arguments.table_only:
        if "data" in arguments.parts:
            with_data(arguments, keep)
        if "no data" in arguments.parts and arguments.onnxsim:
            without_data(arguments, keep)
        if "growth" in arguments.parts:
            growth(keep)
    tables(rows, HERE / "README.md")


if __name__ == "__main__":
    main()
