"""Accuracy against work: criteria x recovery x budget, always beside random.

    python -m benchmarks.accuracy.run [--networks ...] [--criteria ...] [--recover ...]
        [--budgets ...] [--peers PYTHON] [--results FILE] [--table-only]

Every row is one run of `compress` as a user starts it, with its time.  Rows that the results hold
already are not run again.  Afterwards the table and the plot are drawn.  With `--peers`, a Python
that has onnxsim, onnx2torch and torch-pruning, the same images and budgets go through those.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto

from benchmarks.accuracy.networks import NETWORKS, Network, Samples
from benchmarks.accuracy.plot import draw
from benchmarks.accuracy.table import write_table
from onnxslim_snacs.commands.compress import compress
from onnxslim_snacs.config import CompressConfig, DataConfig
from onnxslim_snacs.errors import SnacsError
from onnxslim_snacs.ir.keep import KeepMap
from onnxslim_snacs.model.load import load_model
from onnxslim_snacs.model.session import SessionConfig, create_session
from onnxslim_snacs.ops.analyse import analyse
from onnxslim_snacs.plan.cost import cost_model

HERE = Path(__file__).parent
CRITERIA = ("snacs-refit", "snacs", "refit", "l1", "random")
RECOVER = ("none", "stats", "auto")
#: Networks of the table; the others are for the automatic decision.
TABLED = ("ResNet-56", "ResNet-20", "ResNet-8", "bundled digits")
BUDGETS = (0.7, 0.5, 0.35)
SEEDS = {"random": (0, 1, 2)}
#: Statistics alone are shown for these only.
WITH_STATS = ("snacs-refit", "l1", "random")
PEERS = ("onnxsim", "torch_pruning")
_BATCH = 113

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Case:
    """What one row is about.

    Attributes:
        network: its name.
        tool: "snacs-onnx" or a peer.
        criterion: name of the criterion.
        seed: of everything that is drawn.
        recover: how accuracy is recovered.
        budget: share of the multiply-accumulates to keep.
    """

    network: str
    tool: str
    criterion: str
    seed: int
    recover: str
    budget: float


def cases(arguments: argparse.Namespace) -> Iterator[Case]:
    """What to run, the quick ones first."""
    for network in arguments.networks:
        for recover in arguments.recover:
            for criterion in arguments.criteria:
                if recover == "stats" and criterion not in WITH_STATS:
                    continue
                for seed in SEEDS.get(criterion, (0,)):
                    for budget in arguments.budgets:
                        yield Case(network, "snacs-onnx", criterion, seed, recover, budget)
        for tool in PEERS if arguments.peers else ():
            for budget in arguments.budgets:
                yield Case(network, tool, "", 0, "", budget)


def answers_of(model: ModelProto, images: NDArray[np.float32]) -> NDArray[np.float32]:
    """(images, classes) what a model says."""
    session = create_session(model, SessionConfig(threads=1))
    given = session.get_inputs()[0]
    size = given.shape[0] if isinstance(given.shape[0], int) else _BATCH
    rows = []
    for k in range(0, len(images), size):
        outputs = session.run(None, {given.name: images[k : k + size]})
        ranked = next(output for output in outputs if output.ndim >= 2)
        rows.append(ranked.reshape(len(ranked), -1))
    found: NDArray[np.float32] = np.concatenate(rows)
    return found


@dataclass(frozen=True, slots=True)
class Bench:
    """A network, its images, and what the original says about them."""

    network: Network
    samples: Samples
    test: NDArray[np.int64]
    unseen: NDArray[np.int64]

    def judged(self, model: ModelProto) -> Row:
        """How right a model is, and how often it says what the original says."""
        test = answers_of(model, self.samples.test).argmax(axis=1)
        unseen = answers_of(model, self.samples.unseen).argmax(axis=1)
        labels = self.samples.labels
        right = {} if labels is None else {
            "base": float(np.mean(self.test == labels)), "top1": float(np.mean(test == labels))
        }  # fmt: skip
        return {
            **right,
            "agreement": float(np.mean(test == self.test)),
            "unseen_agreement": float(np.mean(unseen == self.unseen)),
            "n": len(self.samples.test),
            "n_unseen": len(self.samples.unseen),
        }


def open_bench(network: Network) -> Bench:
    samples, proto = network.samples(), onnx.load(network.path)
    test, unseen = (answers_of(proto, x).argmax(axis=1) for x in (samples.test, samples.unseen))
    return Bench(network, samples, test, unseen)


def run_ours(case: Case, bench: Bench, folder: Path, threads: int) -> Row:
    """One run of compress."""
    data = folder / "calibration.npz"
    np.savez(data, **{bench.network.given: bench.samples.calibration})
    config = CompressConfig(
        data=DataConfig(str(data)),
        target={"macs": case.budget},
        criterion=case.criterion,
        recover=case.recover,
        seed=case.seed,
        threads=threads,
    )
    start = perf_counter()
    try:
        done = compress(bench.network.path, config)
    except SnacsError as error:
        return {"error": str(error)}
    seconds = perf_counter() - start
    before, after = done.report.before, done.report.after
    used = done.report.recovery.used if done.report.recovery else "none"
    kept = {"macs": after.macs / before.macs, "params": after.params / before.params}
    return {**kept, "seconds": seconds, "used": used, **bench.judged(done.model)}


def run_peer(case: Case, bench: Bench, folder: Path, python: str) -> Iterator[Row]:
    """The variants of another tool at one budget, each judged by the same images."""
    data = folder / "peer.npz"
    np.savez(data, images=bench.samples.calibration)
    worker = str(HERE / "peer.py")
    for stale in folder.glob("peer_*.onnx"):
        stale.unlink()
    command = [python, worker, case.tool, str(bench.network.path), str(case.budget), str(data)]
    start = perf_counter()
    run = subprocess.run([*command, str(folder)], capture_output=True, text=True, check=False)
    seconds = perf_counter() - start
    found = sorted(folder.glob("peer_*.onnx"))
    if not found:
        said = run.stderr.strip().splitlines()
        yield {"error": said[-1][:200] if said else f"exit code {run.returncode}"}
    for path in found:
        model = onnx.load(path)
        row = {"recover": path.stem.removeprefix("peer_"), "seconds": seconds}
        yield {**row, "macs": macs(path) / macs(bench.network.path), **bench.judged(model)}


def macs(path: Path) -> int:
    """Multiply-accumulates of a model, as we count them."""
    return cost_model(analyse(load_model(path))).cost(KeepMap({})).macs


def run_all(arguments: argparse.Namespace, rows: list[Row]) -> None:
    """Run what is missing, and keep every row as soon as it is there."""
    done = {json.dumps(row["case"]) for row in rows}
    bench: Bench | None = None
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for case in cases(arguments):
            if json.dumps(asdict(case)) in done:
                continue
            if bench is None or bench.network.name != case.network:
                bench = open_bench(NETWORKS[case.network])
            print(case, file=sys.stderr, flush=True)
            if case.tool == "snacs-onnx":
                found = [run_ours(case, bench, folder, arguments.threads)]
            else:
                found = list(run_peer(case, bench, folder, arguments.peers))
            rows.extend({"case": asdict(case), **row} for row in found)
            arguments.results.write_text(json.dumps(rows, indent=1))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--networks", nargs="+", default=TABLED, choices=list(NETWORKS))
    parser.add_argument("--criteria", nargs="+", default=CRITERIA)
    parser.add_argument("--recover", nargs="+", default=RECOVER)
    parser.add_argument("--budgets", nargs="+", type=float, default=BUDGETS)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--peers", help="a Python with onnxsim, onnx2torch and torch-pruning")
    parser.add_argument("--results", type=Path, default=Path("out/accuracy.json"))
    parser.add_argument("--more-results", nargs="*", type=Path, default=[], help="also drawn")
    parser.add_argument("--table-only", action="store_true", help="draw what there is")
    arguments = parser.parse_args()
    arguments.results.parent.mkdir(parents=True, exist_ok=True)
    rows = json.loads(arguments.results.read_text()) if arguments.results.exists() else []
    if not arguments.table_only:
        run_all(arguments, rows)
    rows += [row for path in arguments.more_results for row in json.loads(path.read_text())]
    write_table(rows, HERE / "README.md")
    draw(rows, HERE / "accuracy.svg")


if __name__ == "__main__":
    main()
