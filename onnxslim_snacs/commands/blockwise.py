"""Whole blocks, as far as `compress` is asked to drop some: which go, and that it was right."""

from __future__ import annotations

from onnxslim_snacs.activations.samples import Samples
from onnxslim_snacs.blocks.take import Taken, take_blocks
from onnxslim_snacs.commands.refusals import require_prunable
from onnxslim_snacs.config import CompressConfig
from onnxslim_snacs.judge.judge import Judge
from onnxslim_snacs.plan.work import Work
from onnxslim_snacs.proof.dropped import prove_drop, require_dropped
from onnxslim_snacs.report.make import dropped_report
from onnxslim_snacs.report.report import DroppedReport
from onnxslim_snacs.scores.criterion import ScoreResult

#: What is said where there is no block to drop.
NO_BLOCKS = (
    "--blocks: no part of this model is only added to what goes past it (single entry, single "
    "exit, equal shapes), so that only channels went"
)


def without_asked_blocks(
    work: Work,
    config: CompressConfig,
    samples: Samples,
    scores: ScoreResult,
    judge: Judge | None,
    frozen: frozenset[str],
) -> Taken:
    """The model without the blocks that go; the whole model if none were asked for.

    Args:
        work: the whole model.
        config: what was asked for.
        samples: to look at, and to judge by.
        scores: of the whole model's units.
        judge: compares with the original; None if the model cannot be run.
        frozen: groups that stay.

    Raises:
        NothingToPrune: there is no block, and no channel can go.
    """
    if not config.blocks:
        return Taken(work, config, scores, frozen, 0)
    taken = Taken(work, config, scores, frozen, 0)
    if judge is not None:
        with work.clock.stage("blocks"):
            taken = take_blocks(work, config, samples, scores, judge, frozen)
    if not taken.found:
        require_prunable(work.analysis, frozen)
    return taken


def proved_drop(taken: Taken, config: CompressConfig) -> DroppedReport | None:
    """What was done to whole blocks, proved; None if nothing was asked for.

    Raises:
        ProofFailed: what is left computes something else.
    """
    if not config.blocks:
        return None
    work, proof = taken.work, None
    if taken.dropped:
        with work.clock.stage("proof"):
            whole, threads = work.whole, work.session.threads
            proof = prove_drop(whole.ready, whole.analysis, taken.dropped, work.ready, threads)
            require_dropped(proof)
    return dropped_report(work, proof, taken.found, config.block_order, taken.tried)


def block_warnings(taken: Taken, config: CompressConfig) -> tuple[str, ...]:
    """What the user should know of blocks that were asked for."""
    return (NO_BLOCKS,) if config.blocks and not taken.found else ()
