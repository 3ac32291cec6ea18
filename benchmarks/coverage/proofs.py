"""Transformers and recurrent nets: what goes, and two proofs that do not know of each other.

    python -m benchmarks.coverage.proofs FILES [--ratio 0.5]

"consumer-zero" is the proof of `compress` (removed channels are zero where they are read);
"gather" is the oracle of the property tests, which takes the kept slots out in front of every
product of the original and shares no code with the rules of the operators.  A state that is given
back keeps its extent and holds zeros for the hidden units that went; the oracle still runs those,
so that of an output as large as an input only the places are compared at which the cut model does
not answer zero.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from onnxslim_snacs.decide.allocation import Constraints, uniform
from onnxslim_snacs.decide.budget import shares
from onnxslim_snacs.ir.keep import KeepMap, keep_map
from onnxslim_snacs.model.load import load_model
from onnxslim_snacs.model.session import SessionConfig
from onnxslim_snacs.ops.analyse import Analysis, analyse
from onnxslim_snacs.passes.prune import prune
from onnxslim_snacs.plan.cost import cost_model
from onnxslim_snacs.plan.kept import Kept
from onnxslim_snacs.proof.difference import worst_difference
from onnxslim_snacs.proof.prove import prove
from onnxslim_snacs.scores import CRITERIA
from onnxslim_snacs.scores.criterion import ScoreContext
from tests.harness import run
from tests.properties.checks import tensors
from tests.properties.oracle import gathered


def gather_difference(analysis: Analysis, keep: KeepMap) -> float:
    """Relative difference between the cut model and the gather oracle, at level 0."""
    proto = analysis.graph.proto
    shapes = {n: s[0] for n in tensors(proto) if (s := analysis.facts.samples(n))}
    oracle, cut = gathered(proto, keep, shapes), prune(analysis, keep)
    wanted = [run(oracle, dict(feeds), 0) for feeds in analysis.facts.feeds]
    got = [run(cut, dict(feeds), 0) for feeds in analysis.facts.feeds]
    states = {value.shape for feeds in analysis.facts.feeds for value in feeds.values()}
    columns = zip(zip(*wanted, strict=True), zip(*got, strict=True), strict=True)
    return max(
        worst_difference([np.where(_given_back(y, states), 0, x) for x, y in pairs], b)
        for a, b in columns
        for pairs in [list(zip(a, b, strict=True))]
    )


def _given_back(values: NDArray[Any], states: set[tuple[int, ...]]) -> NDArray[np.bool_]:
    """Where a state that the model gives back holds no hidden unit any more."""
    return values == 0 if values.shape in states else np.zeros(values.shape, dtype=bool)


def what_went(analysis: Analysis, kept: Kept) -> str:
    """Groups by extent: how many of them, from how many units to how many."""
    sizes = Counter((g.units, int(kept[g.id].sum())) for g in analysis.ir.groups)
    return ", ".join(f"{n} x {before} -> {after}" for (before, after), n in sorted(sizes.items()))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--ratio", type=float, default=0.5)
    arguments = parser.parse_args()
    print("| file | groups: units before -> after | params kept | consumer-zero | gather |")
    print("|---|---|---|---|---|")
    for path in arguments.files:
        analysis = analyse(load_model(path))
        context = ScoreContext(analysis, cast(Any, None), SessionConfig())
        scores = CRITERIA["l1"].score(context).scores
        kept = uniform(analysis.ir.groups, scores, arguments.ratio, Constraints())
        keep = keep_map(analysis.ir, kept)
        proof = prove(analysis, keep, prune(analysis, keep))
        gather = gather_difference(analysis, keep)
        params = shares(cost_model(analysis), analysis.ir, kept)["params"]
        first = f"{proof.max_rel_diff:.1e}" if proof.passed else f"FAILED: {proof.failure}"
        cells = (path.stem, what_went(analysis, kept), f"{params:.3f}", first, f"{gather:.1e}")
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
