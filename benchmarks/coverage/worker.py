"""Cut and prove one file, and say what came out: the child process of the sweep.

    python -m benchmarks.coverage.worker MODEL OUT.json [SHAPES_JSON]

A process of its own for each file gives each its own peak memory, time limit and crash.
"""

from __future__ import annotations

import json
import sys
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from time import perf_counter
from typing import Any, cast

from onnx import ModelProto

from onnxslim_snacs.commands.refusals import require_prunable
from onnxslim_snacs.decide.allocation import Constraints, uniform
from onnxslim_snacs.errors import NothingToPrune
from onnxslim_snacs.ir.keep import KeepMap, keep_map
from onnxslim_snacs.ir.types import Axis
from onnxslim_snacs.ir.why import chain_to_pin
from onnxslim_snacs.model.graph import ModelGraph
from onnxslim_snacs.model.load import load_model
from onnxslim_snacs.model.session import SessionConfig, create_session
from onnxslim_snacs.ops.analyse import Analysis, analyse
from onnxslim_snacs.passes.prune import prune
from onnxslim_snacs.plan.cost import CostModel, cost_model
from onnxslim_snacs.proof.prove import prove
from onnxslim_snacs.scores import CRITERIA
from onnxslim_snacs.scores.criterion import ScoreContext

RATIO = 0.5
CRITERION = "l1"
#: Weights to explain: what is left of a file lies mostly in a few of them.
EXPLAINED = 6


@dataclass
class Row:
    """What the sweep tells of one file; filled in as far as the run gets."""

    values: dict[str, Any] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage; if the run ends here, the row says so."""
        self.values["stage"] = name
        start = perf_counter()
        yield
        self.seconds[name] = round(perf_counter() - start, 3)


def run(path: Path, shapes: dict[str, tuple[int, ...]], row: Row) -> None:
    """The pipeline of `compress --ratio 0.5 --criterion l1 --recover none`, stage by stage."""
    with row.stage("load"):
        graph = load_model(path)
    row.values.update(nodes=len(graph.nodes), accepted=True)
    with row.stage("analyse"):
        analysis = analyse(graph, input_shapes=shapes)
    groups = analysis.ir.groups
    row.values.update(
        groups=len(groups),
        ran=analysis.facts.ran,
        note=analysis.facts.note,
        pins=dict(Counter(pin.reason for pin in analysis.ir.pins).most_common()),
    )
    costs = cost_model(analysis)
    with row.stage("score"):
        scores = (
            CRITERIA[CRITERION]
            .score(ScoreContext(analysis, cast(Any, None), SessionConfig()))
            .scores
        )
    kept = uniform(groups, scores, RATIO, Constraints())
    keep = keep_map(analysis.ir, kept)
    try:
        require_prunable(analysis, frozenset())
    except NothingToPrune as refusal:
        row.values["refusal"] = f"exit code {refusal.exit_code}: {refusal}"
    report_costs(row, costs, keep)
    row.values["largest_left"] = list(largest_left(analysis, keep))
    with row.stage("prune"):
        model = prune(analysis, keep)
    if not keep.kept:
        row.values["status"] = "nothing"
        return
    with row.stage("prove"):
        proof = prove(analysis, keep, model)
    row.values.update(
        proved=proof.passed, max_rel_diff=proof.max_rel_diff, proof_failure=proof.failure
    )
    with row.stage("load levels"):
        row.values["levels"] = levels_that_load(model, graph)
    row.values["status"] = "cut" if proof.passed and loads_as_before(row, graph) else "wrong"


def run_inexact(path: Path, shapes: dict[str, tuple[int, ...]], row: Row) -> None:
    """The same with --allow-inexact, where something has been normalised."""
    if not any("--allow-inexact" in reason for reason in row.values.get("pins", {})):
        return
    with row.stage("inexact"):
        analysis = analyse(load_model(path), allow_inexact=True, input_shapes=shapes)
        scores = (
            CRITERIA[CRITERION]
            .score(ScoreContext(analysis, cast(Any, None), SessionConfig()))
            .scores
        )
        keep = keep_map(analysis.ir, uniform(analysis.ir.groups, scores, RATIO, Constraints()))
        proof = prove(analysis, keep, prune(analysis, keep))
        costs = cost_model(analysis)
    row.values["inexact"] = {
        "params_kept": costs.cost(keep).params / max(1, costs.cost(KeepMap({})).params),
        "proved": proof.passed,
        "oracle": proof.oracle,
        "max_rel_diff": proof.max_rel_diff,
        "proof_failure": proof.failure,
    }


def report_costs(row: Row, costs: CostModel, keep: KeepMap) -> None:
    """Parameters and multiply-accumulates before and after."""
    before, after = costs.cost(KeepMap({})), costs.cost(keep)
    row.values.update(
        params=before.params,
        params_kept=after.params / max(1, before.params),
        macs=before.macs,
        macs_kept=after.macs / max(1, before.macs),
    )


def largest_left(analysis: Analysis, keep: KeepMap) -> Iterator[dict[str, Any]]:
    """The weights that hold most of what is left, and why what is pinned of them is."""
    left = []
    for name, tensor in analysis.graph.initializers.items():
        after = [keep.extent(Axis(name, d), e) for d, e in enumerate(tensor.dims)]
        left.append((prod(after), name, list(tensor.dims), after))
    for name in sorted(analysis.facts.weights - set(analysis.graph.initializers)):
        value = analysis.facts.value(name)
        node = analysis.graph.nodes[analysis.graph.producer[name]]
        if node.op_type == "Constant" and value is not None:
            after = [keep.extent(Axis(name, d), e) for d, e in enumerate(value.shape)]
            left.append((prod(after), name, list(value.shape), after))
    left.sort(key=lambda item: (-item[0], item[1]))
    for size, name, before, after in left[:EXPLAINED]:
        chains = chain_to_pin(analysis.ir, name, len(before)) if size else ()
        why = [f"{c[-1].axis}: {c[-1].because} ({len(c)} links)" for c in chains]
        yield {"tensor": name, "left": size, "before": before, "after": after, "why": why}


def loads_as_before(row: Row, graph: ModelGraph) -> bool:
    """With operators that ONNX Runtime does not have, a model loads neither before nor after."""
    levels = row.values["levels"]
    return len(levels) == 4 or bool(levels == levels_that_load(graph.proto, graph))


def levels_that_load(model: ModelProto, graph: ModelGraph) -> list[int]:
    """The levels of graph optimisation at which ONNX Runtime takes the model."""
    good = []
    for level in range(4):
        try:
            create_session(model, SessionConfig(level=level), graph.base_dir)
        except Exception:  # whatever ONNX Runtime throws, the level is missing from the list
            continue
        good.append(level)
    return good


def peak_mib() -> float:
    """Largest resident set of this process so far."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return round(int(line.split()[1]) / 1024, 1)
    return float("nan")


def main() -> None:
    """Write the row; what goes wrong is part of it."""
    path, out = Path(sys.argv[1]), Path(sys.argv[2])
    given = json.loads(sys.argv[3]) if len(sys.argv) > 3 else {}
    hints = {name: tuple(shape) for name, shape in given.items()}
    row = Row({"status": "error", "base_mib": peak_mib()})
    try:
        run(path, hints, row)
    except Exception as error:
        row.values["error"] = f"{type(error).__name__}: {error}"
        row.values["traceback"] = traceback.format_exc()
    row.values.update(seconds=row.seconds, peak_mib=peak_mib())
    try:
        run_inexact(path, hints, row)
    except Exception as error:
        row.values["inexact"] = {"error": f"{type(error).__name__}: {error}"}
    out.write_text(json.dumps(row.values))


if __name__ == "__main__":
    main()
