"""MINT beside SNACS on one layer pair of 64x64 groups and 2,000 samples: times and rank agreement.

Both see the same rows in the same run, one after the other, and both take all pairs at once.  Wall
times are medians; CPU times, summed over threads, tell how much of them is due to other work on the
machine; the ratio is the median over the runs of that run's two CPU times.

    OMP_NUM_THREADS=2 python -m benchmarks.mint
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
from scipy.stats import spearmanr

from onnxslim_snacs.scores.snacs.acmi import HashOptions
from onnxslim_snacs.scores.snacs.connectivity import connectivity
from onnxslim_snacs.scores.spanning import tree_information

SAMPLES, GROUPS = 2000, 64


def layer_pair(channels: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rectified parents with common causes, and a dense linear layer whose weights vary in size."""
    rng = np.random.default_rng(0)
    causes = rng.standard_normal((SAMPLES, 20)) @ rng.standard_normal((20, channels))
    parents = np.maximum(causes + 2.0 * rng.standard_normal((SAMPLES, channels)), 0.0)
    weights = rng.standard_normal((channels, channels))
    return parents @ weights.T, parents, np.abs(weights) / np.abs(weights).max()


def of_groups(weights: np.ndarray) -> np.ndarray:
    """Mean over the blocks, axes (child group, parent group)."""
    size = len(weights) // GROUPS
    return weights.reshape(GROUPS, size, GROUPS, size).mean(axis=(1, 3))


def timed(work: Callable[[], np.ndarray]) -> tuple[float, float, np.ndarray]:
    """(wall seconds, CPU seconds, result)."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = work()
    return time.perf_counter() - wall, time.process_time() - cpu, result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    print(
        "| channels | estimator | wall s | CPU s | MINT's CPU / its | rank: MINT | rank: weights |"
    )
    print("|---|---|---|---|---|---|---|")
    for channels in (64, 512):
        compare(channels, given.runs, given.threads)


def compare(channels: int, runs: int, threads: int) -> None:
    """Print the rows of one layer pair."""
    x, y, weights = layer_pair(channels)
    options = HashOptions(threads=threads)

    def snacs(kind: str) -> np.ndarray:
        found = connectivity(x, y, weights, estimator=kind, groups=GROUPS, options=options)
        return of_groups(found.information)

    ways: dict[str, Callable[[], np.ndarray]] = {
        "mint": lambda: tree_information(x, y, groups=GROUPS, threads=threads),
        "snacs, hash": lambda: snacs("hash"),
        "snacs, residual": lambda: snacs("residual"),
    }
    for work in list(ways.values())[1:]:
        work()  # the first call warms up
    each = [{name: timed(work) for name, work in ways.items()} for _ in range(runs)]
    trees = each[0]["mint"][2]
    for name in ways:
        wall, cpu = (statistics.median(run[name][k] for run in each) for k in (0, 1))
        ratio = statistics.median(run["mint"][1] / run[name][1] for run in each)
        found = each[0][name][2]
        same = spearmanr(found.ravel(), trees.ravel()).statistic
        truth = spearmanr(found.ravel(), of_groups(weights).ravel()).statistic
        print(
            f"| {channels} | {name} | {wall:.2f} | {cpu:.2f} | {ratio:.1f} "
            f"| {same:.3f} | {truth:.3f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
