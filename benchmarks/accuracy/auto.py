"""Does `--auto` keep its promise on images that compression has not seen?

    python -m benchmarks.accuracy.auto [--networks ...] [--max-drop 0.01] [--threads 1]

The promise: no more than the tolerated share of answers changes.  It is kept here if the share that
changes on unseen images exceeds the tolerated one by no more than the standard error that the
report states for its own held-out samples.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from time import perf_counter

import numpy as np

from benchmarks.accuracy.networks import NETWORKS, STAND_INS
from benchmarks.accuracy.run import open_bench
from onnxslim_snacs.commands.compress import compress
from onnxslim_snacs.config import CompressConfig, DataConfig
from onnxslim_snacs.errors import NothingToPrune

ALL = NETWORKS | STAND_INS
HEADS = (
    "network", "MACs kept", "params kept", "changed, held out", "standard error",
    "changed, test", "changed, other unseen", "top-1 before", "top-1 after",
    "promise, test", "promise, other", "seconds",
)  # fmt: skip


def line(name: str, max_drop: float, threads: int) -> str:
    """One network."""
    bench = open_bench(ALL[name])
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "calibration.npz"
        np.savez(data, **{bench.network.given: bench.samples.calibration})
        config = CompressConfig(data=DataConfig(str(data)), max_drop=max_drop, threads=threads)
        start = perf_counter()
        try:
            done = compress(bench.network.path, config)
        except NothingToPrune as reason:
            return f"| {name} | 1 | 1 | nothing goes: {reason} |" + " |" * (len(HEADS) - 4)
        seconds = perf_counter() - start
    report, judged = done.report, bench.judged(done.model)
    assert report.drift is not None
    assert report.drift.top1_agreement is not None
    held = 1 - report.drift.top1_agreement
    error = report.drift.standard_error or 0.0
    test, unseen = 1 - judged["agreement"], 1 - judged["unseen_agreement"]
    verdicts = ("kept" if share <= max_drop + error else "BROKEN" for share in (test, unseen))
    cells = (
        name,
        f"{report.after.macs / report.before.macs:.3f}",
        f"{report.after.params / report.before.params:.3f}",
        *(f"{100 * share:.2f} %" for share in (held, error, test, unseen)),
        *(f"{100 * judged[which]:.2f}" if "base" in judged else "" for which in ("base", "top1")),
        *verdicts,
        f"{seconds:.0f}",
    )
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--networks", nargs="+", default=list(ALL), choices=list(ALL))
    parser.add_argument("--max-drop", type=float, default=0.01)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    print(f"| {' | '.join(HEADS)} |\n|{'---|' * len(HEADS)}")
    for name in arguments.networks:
        print(line(name, arguments.max_drop, arguments.threads), flush=True)


if __name__ == "__main__":
    main()
