"""What `compress` costs beside the plain forward pass, stage by stage.

    python -m benchmarks.pipeline [--threads 1] [--rounds 3] [--images 1000] [--many 10000]

ResNet-56, `--target macs=0.5`, no recovery.  Every figure comes from a process of its own; plain
passes and runs alternate.  CPU seconds are summed over threads: they tell what is due to other work
on the machine.  The last lines are peaks of memory with few and with many samples.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any

import numpy as np

from benchmarks.common import SHARED, cifar_images

MODEL = SHARED / "models" / "cifar10_akamaster_resnet56_ts17_bn.onnx"
_BATCH = 32


def plain(data: Path, threads: int) -> dict[str, float]:
    """The model over all images, nothing else."""
    from onnxslim_snacs.model.load import load_model
    from onnxslim_snacs.model.session import SessionConfig, create_session

    with np.load(data) as arrays:
        images = arrays["input"]
    session = create_session(load_model(MODEL).proto, SessionConfig(threads=threads))
    session.run(None, {"input": images[:_BATCH]})
    wall, cpu = perf_counter(), process_time()
    for start in range(0, len(images), _BATCH):
        session.run(None, {"input": images[start : start + _BATCH]})
    return {"forward": perf_counter() - wall, "CPU": process_time() - cpu}


def whole(data: Path, threads: int) -> dict[str, float]:
    """`compress`, by stage."""
    from onnxslim_snacs.commands.compress import compress
    from onnxslim_snacs.config import CompressConfig, DataConfig

    wall, cpu = perf_counter(), process_time()
    config = CompressConfig(
        data=DataConfig(str(data)), target={"macs": 0.5}, threads=threads, recover="none"
    )
    report = compress(MODEL, config).report
    total = {"total": perf_counter() - wall, "CPU": process_time() - cpu}
    return {**report.timings, **total}


def measured(what: str, data: Path, threads: int) -> dict[str, float]:
    """Run one of the two in a process of its own."""
    line = [sys.executable, "-m", "benchmarks.pipeline", "--one", what, "--data", str(data)]
    ended = subprocess.run(
        [*line, "--threads", str(threads)],
        check=True,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[1],
        env={**os.environ, "OMP_NUM_THREADS": str(threads)},
    )
    found: dict[str, float] = json.loads(ended.stdout)
    return found


def save_images(path: Path, count: int) -> Path:
    np.savez(path, input=cifar_images("train", "imagenet", count)[0])
    return path


def print_stages(rows: list[dict[str, float]], forward: dict[str, float]) -> None:
    print("| stage | s | of the forward pass |")
    print("|---|---|---|")
    print(f"| plain forward pass | {forward['forward']:.2f} | 1.00 |")
    for name in rows[0]:
        if name in ("CPU", "peak"):
            continue
        value = median(row[name] for row in rows)
        print(f"| {name} | {value:.2f} | {value / forward['forward']:.2f} |")
    cpu = median(row["CPU"] for row in rows)
    print(f"| CPU of the forward pass | {forward['CPU']:.2f} | |")
    print(f"| CPU of all stages | {cpu:.2f} | {cpu / forward['CPU']:.2f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--many", type=int, default=10000)
    parser.add_argument("--one", choices=("plain", "whole"), help="used by the script itself")
    parser.add_argument("--data", type=Path, help="used by the script itself")
    arguments = parser.parse_args()
    if arguments.one:
        found: dict[str, Any] = {"plain": plain, "whole": whole}[arguments.one](
            arguments.data, arguments.threads
        )
        found["peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps(found))
        return
    with tempfile.TemporaryDirectory() as folder:
        few = save_images(Path(folder) / "few.npz", arguments.images)
        forward, rows = [], []
        for _ in range(arguments.rounds):
            forward.append(measured("plain", few, arguments.threads))
            rows.append(measured("whole", few, arguments.threads))
        middle = {name: median(row[name] for row in forward) for name in forward[0]}
        print_stages(rows, middle)
        print(f"\npeak memory, {arguments.images} images: {rows[0]['peak']:.0f} MiB")
        if arguments.many:
            many = save_images(Path(folder) / "many.npz", arguments.many)
            peak = measured("whole", many, arguments.threads)["peak"]
            print(f"peak memory, {arguments.many} images: {peak:.0f} MiB")


if __name__ == "__main__":
    main()
