"""The plan of a run: what was decided, and how what is left was re-fitted."""

from __future__ import annotations

from dataclasses import replace

from onnxslim_snacs.activations.samples import SHARE, SHARE_AUTO
from onnxslim_snacs.activations.sources import CalibrationSource
from onnxslim_snacs.arithmetic.current import arithmetic
from onnxslim_snacs.blocks.left import planned
from onnxslim_snacs.config import CompressConfig, Drop
from onnxslim_snacs.decide.decide import Decision
from onnxslim_snacs.plan.plan import Plan, Refit, make_plan, model_digest
from onnxslim_snacs.plan.work import Work
from onnxslim_snacs.recovery.accept import Outcome


def plan_of(
    work: Work,
    config: CompressConfig,
    decision: Decision,
    final: Outcome | None,
    source: CalibrationSource,
) -> Plan:
    """The plan of a decision, with the re-fit that followed, if there was one.

    Args:
        work: the model that was cut.
        config: what was asked for.
        decision: what stays.
        final: the model after recovery; None if it cannot be run.
        source: all samples.
    """
    ir = work.analysis.ir
    plan = make_plan(work.graph, ir, decision.kept, allow_inexact=config.loosens_norms)
    gone = () if work.reduced is None else planned(work.reduced.dropped)
    plan = replace(plan, sizes=work.analysis.facts.first_sizes, dropped=gone)
    if final is None or final.report.used == "none":
        return plan
    refit = Refit(
        digest=model_digest(final.model, work.graph.base_dir),
        method=final.report.used,
        share=share_aside(config),
        is_random=source.is_random,
        data=replace(config.data, path=None, labels=None),
        seed=work.seed,
        threads=work.session.threads,
        provider=work.session.provider,
        effort=work.effort,
        arithmetic=arithmetic().name,
    )
    return replace(plan, refit=refit)


def share_aside(config: CompressConfig) -> float:
    """The share of the samples that is set aside for judging."""
    counted = isinstance(config.goal, Drop) and config.metric is None
    return SHARE_AUTO if counted else SHARE
