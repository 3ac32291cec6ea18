"""Replay a plan."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

from onnxslim_snacs.activations.open_data import files_of, open_source
from onnxslim_snacs.activations.samples import split
from onnxslim_snacs.activations.sources import CalibrationSource
from onnxslim_snacs.arithmetic.current import arithmetic_as_planned, computing
from onnxslim_snacs.blocks.left import blocks_of, found_again, without_blocks
from onnxslim_snacs.commands.naming import names_file
from onnxslim_snacs.commands.outputs import Outputs, Told, nobody
from onnxslim_snacs.commands.recovered import recovered
from onnxslim_snacs.commands.signature import sign, tied
from onnxslim_snacs.commands.simplified import simplified_as_planned, with_simplified
from onnxslim_snacs.commands.start import Compressed, Setup, open_work
from onnxslim_snacs.commands.turned import Turned, turn_again, width_notes
from onnxslim_snacs.config import RECOVER, DataConfig
from onnxslim_snacs.config.fields import checked
from onnxslim_snacs.errors import InputRefused, UsageError
from onnxslim_snacs.ir.keep import KeepMap, keep_map
from onnxslim_snacs.judge.judge import open_judge
from onnxslim_snacs.model.graph import ModelGraph
from onnxslim_snacs.model.opened import AnyModel, open_model
from onnxslim_snacs.plan.cost import with_added
from onnxslim_snacs.plan.plan import (
    Plan,
    Refit,
    check_fingerprint,
    check_plan,
    has_other_source,
    model_digest,
)
from onnxslim_snacs.plan.work import Work
from onnxslim_snacs.plan.written import load_plan
from onnxslim_snacs.progress import Clock, Progress, silent
from onnxslim_snacs.proof.dropped import prove_drop, require_dropped
from onnxslim_snacs.proof.outcome import ProvedCut
from onnxslim_snacs.proof.prove import prove_cut
from onnxslim_snacs.recovery.accept import Outcome
from onnxslim_snacs.report.make import RAW, dropped_report, made_by, make_report
from onnxslim_snacs.report.report import DroppedReport, Report

#: What is said of a model that was re-fitted otherwise.
OTHERWISE = (
    "this is not the plan's own model, byte for byte: it was re-fitted with other data, threads or "
    "libraries, or the plan was edited"
)

#: What is said where the model is not the one for which the plan was made.
OTHER_SOURCE = (
    "the plan was made for this model with other weights or attributes: what it says of channels "
    "was found out on those"
)

#: What is said where the plan's model was trained at the end.
UNTRAINED = (
    "the plan's own model was trained after this, which is not done again: `finetune` with this "
    "one, --teacher and the original trains it anew"
)


@checked
@names_file
def apply_plan(
    model: AnyModel,
    plan: Plan | Path | str,
    *,
    out: Path | str | None = None,
    report_out: Path | str | None = None,
    html_out: Path | str | None = None,
    overwrite: bool = False,
    data: DataConfig | None = None,
    recover: str = "auto",
    threads: int | None = None,
    metadata: bool = True,
    progress: Progress = silent,
    told: Told = nobody,
) -> Compressed:
    """Replay a plan: the same model, byte for byte, with the same data and threads.

    Args:
        model: the .onnx file, or the model in memory, as for `compress`.
        plan: what `compress` has decided, perhaps edited by hand; or the file that holds it.
        out: where to write the result; None writes nothing.
        report_out: where to write the report; it comes into its place together with the model.
        html_out: where to write the report as a page, likewise.
        overwrite: whether existing files may be replaced.
        data: the samples to re-fit with, read as the plan says where this says nothing else; sizes
            of inputs that cannot be guessed.
        recover: auto re-fits as the plan says, none gives the raw cut; or the name of a method.
        threads: threads of ONNX Runtime; None takes the plan's.
        metadata: write down in the model by what it was made, as `compress` does.
        progress: told (stage, done, total); the last stage is "write".
        told: told the result before its files are written; if it raises, none is.

    Raises:
        SnacsError: one leaf for each way in which a run can end, see `errors`.
    """
    plan_files = () if isinstance(plan, Plan) else (Path(plan),)
    plan = plan if isinstance(plan, Plan) else load_plan(Path(plan))
    data, clock = data or DataConfig(), Clock(progress)
    refit = plan.refit or Refit("")
    with clock.stage("load"):
        opened = open_model(model, "apply: model")
        graph = opened.graph
        method = _method(plan, recover, data)
        read = _as_planned(data, refit.data) if method != "none" else data
        outputs = Outputs.of(
            opened.path,
            graph,
            model=out,
            report=report_out,
            html=html_out,
            overwrite=overwrite,
            inputs=(*plan_files, *files_of(read)),
        )
    simpler = simplified_as_planned(graph, plan)
    graph = graph if simpler is None else simpler.graph
    with clock.stage("data"):
        given = open_source(read, graph, seed=refit.seed) if read.path is not None else None
    check_fingerprint(plan, graph)
    others = (OTHER_SOURCE,) if has_other_source(plan, graph) else ()
    turned = _turned(graph, plan, read, clock)
    present = None if turned is None else turned.graph
    setup = Setup(
        provider=refit.provider,
        threads=threads or refit.threads,
        seed=refit.seed,
        allow_inexact=plan.allow_inexact,
        input_shapes=read.input_shapes or ({} if given is not None else plan.sizes),
        examples=given.shapes() if given is not None else (),
        effort=refit.effort,
    )
    work = open_work(opened.name, graph, setup, clock, progress, present)
    work, dropped = _without_blocks(work, plan)
    check_plan(plan, graph, work.analysis.ir)
    cut = prove_cut(work, keep_map(work.analysis.ir, plan.kept()))
    final = None
    chosen = arithmetic_as_planned(refit.arithmetic, work.session.provider)
    with computing(chosen, work.session.threads):
        if method != "none":
            facts = work.analysis.facts
            source = given or open_source(read, graph, seed=refit.seed, facts=facts)
            final = _refitted(work, method, cut, source, refit.share)
        report = _report(work, plan, cut, final, out)
    made = cut.model if final is None else final.model
    report = replace(
        report,
        dropped=dropped,
        notes={**report.notes, **width_notes(turned)},
        warnings=(*others, *report.warnings),
    )
    report = with_simplified(report, simpler)
    if metadata:
        sign(made, plan, report)
    done = Compressed(made, plan, tied(report, plan))
    outputs.write(done, graph.base_dir, clock, progress, told)
    return done


def _turned(graph: ModelGraph, plan: Plan, data: DataConfig, clock: Clock) -> Turned | None:
    """The model with its streams turned, if the plan does that."""
    if not plan.bases:
        return None
    with clock.stage("rotate"):
        return turn_again(graph, plan.bases, data.input_shapes or plan.sizes)


def _without_blocks(work: Work, plan: Plan) -> tuple[Work, DroppedReport | None]:
    """The model without the blocks that the plan drops, proved."""
    if not plan.dropped:
        return work, None
    gone = found_again(work.ready, work.analysis, plan.dropped)
    left = without_blocks(work, gone, allow_inexact=plan.allow_inexact)
    with work.clock.stage("proof"):
        proof = prove_drop(work.ready, work.analysis, gone, left.ready, work.session.threads)
        require_dropped(proof)
    found = [b for b in blocks_of(work.ready, work.analysis) if not b.parts]
    return left, dropped_report(left, proof, len(found), "plan")


def _method(plan: Plan, recover: str, data: DataConfig) -> str:
    """How to re-fit; "none" for the raw cut.

    Raises:
        UsageError: there is no such method.
        InputRefused: the plan's model was re-fitted, and there is nothing to do so again with.
    """
    if recover not in RECOVER:
        raise UsageError(f"--recover {recover}: expected one of {', '.join(RECOVER)}")
    if recover != "auto":
        return recover
    if plan.refit is None:
        return "none"
    if data.path is None and not plan.refit.is_random:
        how = f" ({plan.refit.method})" if plan.refit.method else ""
        raise InputRefused(
            f"the plan's model was re-fitted after the cut{how}: give the same samples again with "
            "--data, or ask for the raw cut, which answers otherwise, with --recover none"
        )
    return plan.refit.method or "auto"


def _as_planned(data: DataConfig, planned: DataConfig) -> DataConfig:
    """How to read the samples: as the plan says, but for what was said anew."""
    blank = DataConfig()
    said = {f.name: getattr(data, f.name) for f in fields(data)}
    anew = {name: value for name, value in said.items() if value != getattr(blank, name)}
    return replace(planned, **anew)


def _refitted(
    work: Work, method: str, cut: ProvedCut, source: CalibrationSource, share: float
) -> Outcome:
    """Re-fit the cut as `compress` does."""
    samples = split(source, share, work.whole.costs.cost(KeepMap({})).macs)
    with work.clock.stage("drift"):
        judge = open_judge(work.whole.analysis, samples.judging, work.session, work.seed)
    return recovered(work, method, cut, samples, judge)


def _report(
    work: Work, plan: Plan, cut: ProvedCut, final: Outcome | None, out: Path | str | None
) -> Report:
    moved = None if final is None else final.drift
    report = replace(make_report(work, cut.keep, cut.proof, moved, out=out), criterion="plan")
    if final is None:
        warnings = (*((RAW,) if plan.refit else ()), *((UNTRAINED,) if plan.tuned else ()))
        return replace(report, warnings=warnings)
    digest = model_digest(final.model, work.graph.base_dir)
    same = plan.refit is not None and plan.refit.digest == digest
    return replace(
        report,
        after=with_added(report.after, cut.model, final.model),
        recovery=final.report,
        made=made_by(final.report),
        warnings=(*(() if same else (OTHERWISE,)), *((UNTRAINED,) if plan.tuned else ())),
    )
