"""Make a model smaller."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from onnxslim_snacs.activations.distinct import require_different
from onnxslim_snacs.activations.samples import SHARE, SHARE_AUTO, Samples, split
from onnxslim_snacs.activations.sources import CalibrationSource, files_of, open_source
from onnxslim_snacs.blocks.left import planned
from onnxslim_snacs.blocks.take import Taken, take_blocks
from onnxslim_snacs.commands.finetune import never
from onnxslim_snacs.commands.foresee import foresee, is_quick
from onnxslim_snacs.commands.gate import require_worth
from onnxslim_snacs.commands.naming import names_file
from onnxslim_snacs.commands.outputs import Outputs, Told, nobody
from onnxslim_snacs.commands.recovered import recovered
from onnxslim_snacs.commands.refusals import (
    frozen_groups,
    require_certain,
    require_cut,
    require_prunable,
    require_runnable,
)
from onnxslim_snacs.commands.signature import sign
from onnxslim_snacs.commands.simplified import simplify, with_simplified
from onnxslim_snacs.commands.start import Compressed, Setup, open_work
from onnxslim_snacs.commands.turned import Turned, turn, width_notes
from onnxslim_snacs.config import Budget, CompressConfig, Drop, FinetuneConfig
from onnxslim_snacs.config.fields import checked
from onnxslim_snacs.decide.decide import Decision, decide
from onnxslim_snacs.decide.latency import require_faster
from onnxslim_snacs.decide.rank import rank
from onnxslim_snacs.ir.keep import KeepMap
from onnxslim_snacs.judge.judge import Judge, open_judge
from onnxslim_snacs.judge.stopwatch import Latency, LatencyWatch
from onnxslim_snacs.model.graph import ModelGraph
from onnxslim_snacs.model.opened import AnyModel, open_model
from onnxslim_snacs.model.session import SessionConfig, resolve_provider
from onnxslim_snacs.plan.cost import with_added
from onnxslim_snacs.plan.plan import Plan, Refit, TunedStep, make_plan, model_digest
from onnxslim_snacs.plan.work import Work
from onnxslim_snacs.progress import Clock, Foreseen, Progress, silent, unforeseen
from onnxslim_snacs.proof.dropped import prove_drop, require_dropped
from onnxslim_snacs.proof.prove import ProvedCut, prove_cut
from onnxslim_snacs.recovery.accept import Outcome
from onnxslim_snacs.report.make import (
    TRAINED,
    asked,
    decision_notes,
    dropped_report,
    made_by,
    make_report,
    tuned_report,
    warnings_of,
    with_curves,
)
from onnxslim_snacs.report.report import DroppedReport, Report
from onnxslim_snacs.report.sentences import alarm
from onnxslim_snacs.scores import find_criterion
from onnxslim_snacs.scores.criterion import ScoreResult, with_options
from onnxslim_snacs.torch_graph.network import open_network
from onnxslim_snacs.training.tune import Attendance, Lesson, Tuned, tune

#: What is said where there is no block to drop.
NO_BLOCKS = (
    "--blocks: no part of this model is only added to what goes past it (single entry, single "
    "exit, equal shapes), so that only channels went"
)


@checked
@names_file
def compress(
    model: AnyModel,
    config: CompressConfig | None = None,
    *,
    out: Path | str | None = None,
    plan_out: Path | str | None = None,
    report_out: Path | str | None = None,
    html_out: Path | str | None = None,
    overwrite: bool = False,
    progress: Progress = silent,
    foreseen: Callable[[Foreseen], None] = unforeseen,
    told: Told = nobody,
    heed: Callable[[], Callable[[], bool]] = lambda: never,
) -> Compressed:
    """Make a model smaller.

    Args:
        model: the .onnx file; or the model in memory, which is not changed: a ModelProto, bytes, an
            onnx_ir.Model or a graph of onnx-graphsurgeon.
        config: what to do; the defaults remove what can go at a drop of one per cent.
        out: where to write the result; None writes nothing.
        plan_out: where to write the plan; it comes into its place together with the model.
        report_out: where to write the report, likewise.
        html_out: where to write the report as a page, likewise.
        overwrite: whether existing files may be replaced.
        progress: told (stage, done, total); a total of 0 where a stage begins, of which the last is
            "write".
        foreseen: told what the run is expected to take, before its long stages begin.
        told: told the result before its files are written; if it raises, none is.
        heed: called when training begins; what it gives is asked after each step whether to stop.

    Returns:
        The model, the plan and the report.

    Raises:
        SnacsError: one leaf for each way in which a run can end, see `errors`.
    """
    config = config or CompressConfig()
    criterion = with_options(find_criterion(config.criterion), config.options)
    clock = Clock(progress)
    with clock.stage("load"):
        opened = open_model(model, "compress: model")
        graph = opened.graph
        outputs = Outputs.of(
            opened.path,
            graph,
            out,
            plan_out,
            report_out,
            overwrite=overwrite,
            html=html_out,
            inputs=files_of(config.data),
        )
    simpler = None
    if config.simplify:
        with clock.stage("simplify"):
            simpler = simplify(graph, config.data.input_shapes)
            graph = simpler.graph
    with clock.stage("data"):
        named = config.data.path is not None
        given = open_source(config.data, graph, seed=config.seed) if named else None
    turned = _turned(graph, config, given, clock)
    present = None if turned is None else turned.graph
    work = open_work(opened.name, graph, _setup(config, given), clock, progress, present)
    require_certain(work.analysis)
    if config.finetune is not None:
        open_network(graph)  # what torch lacks is said at once
    frozen = frozen_groups(work.analysis, config, criterion)
    if not config.blocks:
        require_prunable(work.analysis, frozen)
    with clock.stage("data"):
        facts = work.analysis.facts
        source = given or open_source(config.data, graph, seed=config.seed, facts=facts)
        source = source.settled(facts)
        few = require_different(source)
        macs = work.costs.cost(KeepMap({})).macs
        samples = split(source, _share(config), macs)
    judge = _judge(work, config, samples.judging)
    foreseen(foresee(work, config, samples, judge))
    scores = ScoreResult({})
    if work.analysis.ir.groups:
        scores = rank(work, config, criterion, samples.scoring)
    taken = _taken(work, config, samples, scores, judge, frozen)
    work = taken.work
    dropped = _proved_drop(taken, config)
    with clock.stage("decide"):
        decision = decide(work, taken.config, samples, taken.scores, judge, taken.frozen)
        if not taken.dropped:
            require_cut(config.goal, decision.why)
    cut = prove_cut(work, decision.keep)
    final = None if judge is None else recovered(work, config.recover, cut, samples, judge)
    shown = html_out is not None and judge is not None and is_quick(work, judge)
    left = cut if final is None else final
    latency = _latency(work, config, samples.judging, left, shown=shown)
    tuned = _tuned(work, config, samples, final, heed)
    plan = plan_of(work, config, decision, final, source)
    if turned is not None:
        plan = replace(plan, bases=turned.bases)
    report = _report(work, config, decision, cut, final, out)
    plan, report = _with_training(plan, report, config, judge, tuned)
    if simpler is not None:
        plan = replace(plan, simplified=simpler.version)
    report = with_simplified(asked(with_curves(report, scores.notes), config, out), simpler)
    report = replace(
        report,
        dropped=dropped,
        latency=latency,
        notes={
            **report.notes,
            **width_notes(turned),
            **decision_notes(config, decision.why),
        },
        warnings=(
            *((few,) if few else ()),
            *((NO_BLOCKS,) if config.blocks and not taken.found else ()),
            *warnings_of(source, work.analysis, judge),
            *scores.warnings,
            *((said,) if (said := alarm(report.drift)) else ()),
        ),
    )
    made = left.model if tuned is None else tuned.model
    require_worth(report, config.require)
    if config.metadata:
        sign(made, plan, report)
    done = Compressed(made, plan, report)
    outputs.write(done, graph.base_dir, clock, progress, told)
    return done


def _setup(config: CompressConfig, given: CalibrationSource | None) -> Setup:
    return Setup(
        config.provider,
        config.threads,
        config.seed,
        config.loosens_norms,
        config.data.input_shapes,
        given.shapes() if given is not None else (),
    )


def _turned(
    graph: ModelGraph, config: CompressConfig, given: CalibrationSource | None, clock: Clock
) -> Turned | None:
    """The model with its streams turned, if that was asked for."""
    if config.width != "rotate" or given is None:
        return None
    session = SessionConfig(resolve_provider(config.provider), config.threads)
    with clock.stage("rotate"):
        return turn(graph, split(given, _share(config)).scoring, session, config.data)


def _judge(work: Work, config: CompressConfig, judging: CalibrationSource) -> Judge | None:
    """None where the model cannot be run, so that there is nothing to compare.

    Raises:
        InputRefused: it is to be judged by a measure of the user's, and cannot be run.
    """
    require_runnable(work.analysis, "--judge" if config.metric is not None else "")
    if not work.analysis.facts.ran:
        return None
    with work.clock.stage("drift"):
        return open_judge(work.analysis, judging, work.session, work.seed, config.metric)


def _taken(
    work: Work,
    config: CompressConfig,
    samples: Samples,
    scores: ScoreResult,
    judge: Judge | None,
    frozen: frozenset[str],
) -> Taken:
    """The model without the blocks that go, if that was asked for.

    Raises:
        NothingToPrune: there is no block, and no channel can go.
    """
    taken = Taken(work, config, scores, frozen, 0)
    if config.blocks and judge is not None:
        with work.clock.stage("blocks"):
            taken = take_blocks(work, config, samples, scores, judge, frozen)
    if config.blocks and not taken.found:
        require_prunable(work.analysis, frozen)
    return taken


def _proved_drop(taken: Taken, config: CompressConfig) -> DroppedReport | None:
    """What was done to whole blocks, if anything was asked for, proved.

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


def _tuned(
    work: Work,
    config: CompressConfig,
    samples: Samples,
    final: Outcome | None,
    heed: Callable[[], Callable[[], bool]],
) -> Tuned | None:
    """Train what is left, if that was asked for."""
    if config.finetune is None or final is None:
        return None
    lesson = Lesson(ModelGraph(final.model, work.graph.base_dir), work.graph, work.session)
    how = FinetuneConfig(
        data=config.data,
        minutes=config.finetune,
        seed=work.seed,
        threads=work.session.threads,
        provider=work.session.provider,
    )
    return tune(lesson, samples, how, Attendance(heed(), work.progress, work.clock))


def _with_training(
    plan: Plan, report: Report, config: CompressConfig, judge: Judge | None, tuned: Tuned | None
) -> tuple[Plan, Report]:
    """Plan and report with what training did, if there was any."""
    if tuned is None or config.finetune is None or judge is None:
        return plan, report
    report = replace(report, tuned=tuned_report(config.finetune, tuned))
    if tuned.why:
        return plan, report
    digest = model_digest(tuned.model, judge.analysis.graph.base_dir)
    step = TunedStep(digest, config.finetune, tuned.trained.steps)
    moved = judge.with_blend(tuned.model, judge.drift(tuned.model))
    return replace(plan, tuned=step), replace(report, made=TRAINED, drift=moved)


def _latency(
    work: Work,
    config: CompressConfig,
    judging: CalibrationSource,
    made: ProvedCut | Outcome,
    *,
    shown: bool,
) -> Latency | None:
    """Measured once more, if there is a budget for it; else for a second if it is to be shown.

    Raises:
        NothingToPrune: the result is not faster, and that was not allowed.
    """
    goal = config.goal
    bound = isinstance(goal, Budget) and "latency" in goal.shares
    if not bound and not shown:
        return None
    with work.clock.stage("latency"):
        watch = LatencyWatch(work.analysis, judging, work.session, work.graph)
        latency = watch.measure(made.model, seconds=2.0 if bound else 1.0)
    if bound and isinstance(goal, Budget) and not goal.allow_slower:
        require_faster(latency.ratio)
    return latency


def plan_of(
    work: Work,
    config: CompressConfig,
    decision: Decision,
    final: Outcome | None,
    source: CalibrationSource,
) -> Plan:
    """The plan of a decision, with the re-fit that followed, if there was one."""
    ir = work.analysis.ir
    plan = make_plan(work.graph, ir, decision.kept, allow_inexact=config.loosens_norms)
    gone = () if work.reduced is None else planned(work.reduced.dropped)
    plan = replace(plan, sizes=work.analysis.facts.first_sizes, dropped=gone)
    if final is None or final.report.used == "none":
        return plan
    refit = Refit(
        digest=model_digest(final.model, work.graph.base_dir),
        method=final.report.used,
        share=_share(config),
        is_random=source.is_random,
        data=replace(config.data, path=None, labels=None),
        seed=work.seed,
        threads=work.session.threads,
        provider=work.session.provider,
    )
    return replace(plan, refit=refit)


def _share(config: CompressConfig) -> float:
    """The share of the samples that is set aside for judging."""
    counted = isinstance(config.goal, Drop) and config.metric is None
    return SHARE_AUTO if counted else SHARE


def _report(
    work: Work,
    config: CompressConfig,
    decision: Decision,
    cut: ProvedCut,
    final: Outcome | None,
    out: Path | str | None,
) -> Report:
    moved = None if final is None else final.drift
    report = make_report(work, decision.keep, cut.proof, moved, out=out)
    report = replace(report, criterion=config.criterion)
    if final is None:
        return report
    after = with_added(report.after, cut.model, final.model)
    return replace(report, after=after, recovery=final.report, made=made_by(final.report))
