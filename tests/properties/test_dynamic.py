"""A size that was tried is no size known: cut models agree at sizes that nobody has tried."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from onnx import ModelProto

from onnxslim_snacs.ir.keep import KeepMap
from onnxslim_snacs.model.graph import ModelGraph
from onnxslim_snacs.model.session import SessionConfig, create_session
from onnxslim_snacs.model.sizes import Sizes, random_inputs
from onnxslim_snacs.ops.analyse import Analysis, analyse
from onnxslim_snacs.passes.prune import prune
from onnxslim_snacs.proof.difference import worst_difference
from onnxslim_snacs.proof.oracle import masked_original
from onnxslim_snacs.proof.outcome import Proof
from onnxslim_snacs.proof.prove import prove
from tests.harness import random_keep
from tests.properties.counts import Failures, chunks, piece_name
from tests.properties.dynamic import BLOCKS, network

#: Sizes at which each model is compared, and how many are drawn to find them.
SIZES, DRAWS = 3, 40


def unseen(analysis: Analysis, proof: Proof, seed: int) -> Iterator[Sizes]:
    """Sizes at which the original runs and that neither the analysis nor the proof has used."""
    settled = analysis.facts.settled
    assert settled is not None
    used = [dict(sizes) for sizes in proof.sizes] + [trial.sizes for trial in settled.trials]
    session = create_session(analysis.graph.proto, SessionConfig(level=0))
    rng = np.random.default_rng([seed, 5])
    for draw in range(DRAWS):
        highest = (7, 40, 20)[draw % 3]
        numbers = {s: int(rng.integers(1, highest)) for s in settled.layout.symbols()}
        sizes = settled.layout.sizes(numbers)
        if sizes in used:
            continue
        try:
            session.run(None, random_inputs(analysis.graph, sizes, seed))
        except Exception:  # no size of this model
            continue
        used.append(sizes)
        yield sizes


def furthest(analysis: Analysis, keep: KeepMap, pruned: ModelProto, proof: Proof, seed: int) -> int:
    """Compare at unseen sizes; how many there were."""
    config = SessionConfig(level=0)
    whole, cut = (create_session(m, config) for m in (masked_original(analysis, keep), pruned))
    count = 0
    for sizes in unseen(analysis, proof, seed):
        feeds = random_inputs(analysis.graph, sizes, seed)
        for a, b in zip(whole.run(None, feeds), cut.run(None, feeds), strict=True):
            assert worst_difference([a], [b], 1.0) <= 1e-5, f"at {sizes}"
        count += 1
        if count == SIZES:
            break
    return count


@pytest.mark.parametrize("piece", chunks(60, 2_000), ids=piece_name)
def test_cut_models_agree_at_sizes_that_nobody_has_tried(piece: range) -> None:
    failures, compared, cutting = Failures(), 0, 0
    for seed in piece:
        model, blocks = network(seed)
        case = f"network({seed}) {' '.join(blocks)}"
        try:
            analysis = analyse(ModelGraph(model))
            settled = analysis.facts.settled
            assert settled is not None
            assert not settled.stuck, settled.names()
            keep = random_keep(analysis, 0.5, seed)
            pruned = prune(analysis, keep)
            proof = prove(analysis, keep, pruned)
            assert proof.passed, proof.failure
            compared += furthest(analysis, keep, pruned, proof, seed)
            cutting += bool(keep.kept)
        except Exception as error:
            failures.add(case, error)
    assert not list(failures), failures.report()
    assert compared >= 0.9 * SIZES * len(piece)
    assert cutting >= 0.9 * len(piece)


def test_every_block_is_drawn() -> None:
    drawn = {name for seed in range(len(BLOCKS)) for name in network(seed)[1]}
    assert drawn == {block.__name__ for block in BLOCKS}
