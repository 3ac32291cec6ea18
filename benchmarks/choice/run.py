"""Does a criterion choose well?  Cut at several budgets, without recovery, on unseen images.

    python -m benchmarks.choice.run [--models ...] [--criteria ...] [--threads 2] [--json OUT]

ResNets for CIFAR-10, 1,024 calibration images, 1,017 test images.  Every criterion is run with the
allocation that `compress` uses ("curves") and with the same share of every group ("uniform").  The
scores and the curves of a criterion are computed once and serve all budgets.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from benchmarks.choice.table import print_table
from benchmarks.common import SHARED, cifar_images
from onnxslim_snacs.activations.open_data import open_source
from onnxslim_snacs.activations.sources import CalibrationSource
from onnxslim_snacs.config import DataConfig
from onnxslim_snacs.decide.allocation import Allocation, Constraints, by_quantile, staggered
from onnxslim_snacs.decide.budget import budget_price
from onnxslim_snacs.decide.choose import by_target
from onnxslim_snacs.decide.slopes import by_curves
from onnxslim_snacs.ir.keep import KeepMap, keep_map
from onnxslim_snacs.model.load import load_model
from onnxslim_snacs.model.session import SessionConfig, create_session
from onnxslim_snacs.ops.analyse import Analysis, analyse
from onnxslim_snacs.passes.prune import prune
from onnxslim_snacs.plan.cost import CostModel, cost_model
from onnxslim_snacs.plan.kept import Kept, Scores
from onnxslim_snacs.scores import CRITERIA
from onnxslim_snacs.scores.criterion import ScoreContext

MODELS = ("resnet20_ts17_bn", "resnet56_ts17_bn", "resnet56_ts11")
CRITERIA_RUN = ("snacs", "snacs-gaussian", "l1", "l2", "random")
KEPT = (0.9, 0.8, 0.7, 0.5)
IMAGES = 1024
SEEDS = {"random": (0, 1, 2)}
#: On the graph with folded BatchNorm, whose weights are other ones.
FOLDED = ("snacs", "l1")
_BATCH = 113


@dataclass(frozen=True)
class Outcome:
    """One cut.

    Attributes:
        model: name of the network.
        criterion: name of the criterion.
        seed: of the random scores.
        allocation: how the groups share the cut.
        wanted: share of the multiply-accumulates asked for.
        macs: share that was kept.
        top1: share of the test images that the cut network gets right.
        agreement: share that it puts where the original puts them.
        score_seconds: time of the criterion.
        curve_seconds: time of the error curves, 0 without.
    """

    model: str
    criterion: str
    seed: int
    allocation: str
    wanted: float
    macs: float
    top1: float
    agreement: float
    score_seconds: float
    curve_seconds: float


@dataclass(frozen=True)
class Bench:
    """A network with what every criterion needs."""

    name: str
    analysis: Analysis
    costs: CostModel
    source: CalibrationSource
    session: SessionConfig
    answers: NDArray[np.int64]

    def answers_of(self, model: ModelProto) -> NDArray[np.int64]:
        """(images,) the classes that a model answers on the test images."""
        images, _ = cifar_images("test", "imagenet")
        session = create_session(model, self.session)
        name = session.get_inputs()[0].name
        starts = range(0, len(images), _BATCH)
        rows = [session.run(None, {name: images[k : k + _BATCH]})[0] for k in starts]
        found: NDArray[np.int64] = np.concatenate(rows).argmax(axis=1)
        return found


def open_bench(name: str, calibration: Path, threads: int) -> Bench:
    graph = load_model(SHARED / "models" / f"cifar10_akamaster_{name}.onnx")
    analysis = analyse(graph)
    source = open_source(DataConfig(str(calibration)), graph)
    session = SessionConfig(threads=threads)
    empty = Bench(name, analysis, cost_model(analysis), source, session, np.zeros(0, np.int64))
    answers = empty.answers_of(graph.proto)
    return Bench(name, analysis, empty.costs, source, session, answers)


def outcomes(bench: Bench, criterion: str, seed: int) -> Iterator[Outcome]:
    context = ScoreContext(bench.analysis, bench.source, bench.session, seed)
    start = perf_counter()
    result = CRITERIA[criterion].score(context)
    scored = perf_counter() - start
    sloped = by_curves(context, bench.costs, result, "macs")
    curved = perf_counter() - start - scored
    for allocation, allocate, scores, seconds in (
        ("curves", by_quantile, sloped.scores, curved),
        ("uniform", staggered, result.scores, 0.0),
    ):
        constraints = Constraints(limits=result.limits, protected=result.protected)
        for wanted in KEPT:
            kept = chosen(bench, scores, wanted, constraints, allocate)
            yield judged(bench, criterion, seed, allocation, wanted, kept, scored, seconds)


def chosen(
    bench: Bench, scores: Scores, wanted: float, constraints: Constraints, allocate: Allocation
) -> Kept:
    """What stays at a share of the multiply-accumulates, as `compress --target` decides."""
    price = budget_price(bench.costs, bench.analysis.ir, {"macs": wanted})
    groups = bench.analysis.ir.groups
    return dict(by_target(groups, scores, price, constraints, allocate=allocate).kept)


def judged(
    bench: Bench,
    criterion: str,
    seed: int,
    allocation: str,
    wanted: float,
    kept: Kept,
    score_seconds: float,
    curve_seconds: float,
) -> Outcome:
    keep = keep_map(bench.analysis.ir, kept)
    _, labels = cifar_images("test", "imagenet")
    answers = bench.answers_of(prune(bench.analysis, keep))
    macs = bench.costs.cost(keep).macs / bench.costs.cost(KeepMap({})).macs
    return Outcome(
        bench.name,
        criterion,
        seed,
        allocation,
        wanted,
        macs,
        float(np.mean(answers == labels)),
        float(np.mean(answers == bench.answers)),
        score_seconds,
        curve_seconds,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--criteria", nargs="+", default=CRITERIA_RUN)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, help="write every cut here")
    arguments = parser.parse_args()
    found: list[Outcome] = []
    with tempfile.TemporaryDirectory() as folder:
        calibration = Path(folder) / "calibration.npz"
        np.savez(calibration, input=cifar_images("train", "imagenet", IMAGES)[0])
        for name in arguments.models:
            bench = open_bench(name, calibration, arguments.threads)
            for criterion in arguments.criteria:
                if name.endswith("ts11") and criterion not in FOLDED:
                    continue
                for seed in SEEDS.get(criterion, (0,)):
                    print(f"{name} {criterion} {seed}", file=sys.stderr, flush=True)
                    found.extend(outcomes(bench, criterion, seed))
    if arguments.json:
        rows = [asdict(outcome) for outcome in found]
        arguments.json.write_text(json.dumps(rows, indent=1))
    print_table([asdict(outcome) for outcome in found])


if __name__ == "__main__":
    main()
