"""Time the connectivity estimators on one 512x512 layer pair with 2,000 samples.

Prints a Markdown table.  Wall time is the median of the runs; CPU time, summed over threads, tells
how much of it is due to other work on the machine.

    OMP_NUM_THREADS=2 python -m benchmarks.estimator
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np

from onnxslim_snacs.judge.damage import spearman
from onnxslim_snacs.scores.snacs.acmi import HashOptions
from onnxslim_snacs.scores.snacs.connectivity import Connectivity, connectivity

CHANNELS = 512
SAMPLES = 2000


def layer_pair() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rectified parents with 20 common causes and a dense linear layer on top."""
    rng = np.random.default_rng(0)
    causes = rng.standard_normal((SAMPLES, 20)) @ rng.standard_normal((20, CHANNELS))
    parents = np.maximum(causes + 2.0 * rng.standard_normal((SAMPLES, CHANNELS)), 0.0)
    weights = rng.standard_normal((CHANNELS, CHANNELS))
    return parents @ weights.T, parents, np.abs(weights) / np.abs(weights).max()


def measure(
    estimator: str, groups: int | None, threads: int, runs: int
) -> tuple[float, float, Connectivity]:
    """Give (median wall seconds, median CPU seconds, scores)."""
    x, y, weights = layer_pair()
    options = HashOptions(threads=threads)
    walls, cpus = [], []
    for run in range(runs + 1):
        wall, cpu = time.perf_counter(), time.process_time()
        scores = connectivity(x, y, weights, estimator=estimator, groups=groups, options=options)
        if run:  # the first one warms up
            walls.append(time.perf_counter() - wall)
            cpus.append(time.process_time() - cpu)
    return statistics.median(walls), statistics.median(cpus), scores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    print(
        "| estimator | groups | wall s | CPU s | singleton share | null mean | mean | signal | "
        "rank correlation with the weights |\n|---|---|---|---|---|---|---|---|---|"
    )
    size_of_weights = layer_pair()[2].ravel()
    for estimator in ("residual", "hash", "gaussian"):
        for groups in (256, None):
            wall, cpu, scores = measure(estimator, groups, arguments.threads, arguments.runs)
            quality, size = scores.quality, groups or CHANNELS
            print(
                f"| {estimator} | {size}x{size} | {wall:.2f} | {cpu:.2f} "
                f"| {quality.singleton_share:.3f} | {quality.null_mean:.4f} "
                f"| {quality.information_mean:.4f} | {quality.share_above_null:.2f} "
                f"| {spearman(scores.information.ravel(), size_of_weights):.3f} |"
            )


if __name__ == "__main__":
    main()
