"""The pipeline, and the only place that knows the order of its stages."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from onnxslim_snacs.activations.sources import open_source
from onnxslim_snacs.commands.as_released import compress_as_released
from onnxslim_snacs.commands.outputs import Outputs
from onnxslim_snacs.commands.refusals import (
    needs_running,
    protected_groups,
    require_certain,
    require_cut,
    require_prunable,
    require_runnable,
    unseen_groups,
)
from onnxslim_snacs.commands.work import Compressed
from onnxslim_snacs.config import CompressConfig, check_config
from onnxslim_snacs.decide.decide import decide
from onnxslim_snacs.decide.latency import require_faster
from onnxslim_snacs.decide.rank import rank_units
from onnxslim_snacs.errors import UsageError
from onnxslim_snacs.ir.keep import keep_map
from onnxslim_snacs.judge.judge import SHARE, SHARE_AUTO, Judge, split_source
from onnxslim_snacs.judge.stopwatch import LatencyWatch
from onnxslim_snacs.model.load import load_model
from onnxslim_snacs.model.session import SessionConfig, resolve_provider
from onnxslim_snacs.ops.analyse import analyse
from onnxslim_snacs.passes.prune import prune
from onnxslim_snacs.plan.cost import cost_model, with_added
from onnxslim_snacs.plan.plan import make_plan, model_digest
from onnxslim_snacs.progress import Clock, Progress, silent
from onnxslim_snacs.proof.prove import prove, require
from onnxslim_snacs.recovery.accept import recover_cut, recovery_samples
from onnxslim_snacs.recovery.recover import Cut
from onnxslim_snacs.report.make import decision_notes, make_report, warnings_of
from onnxslim_snacs.scores import CRITERIA
from onnxslim_snacs.scores.criterion import Criterion, ScoreContext


def compress(
    path: Path | str,
    config: CompressConfig | None = None,
    *,
    out: Path | str | None = None,
    plan_out: Path | str | None = None,
    report_out: Path | str | None = None,
    overwrite: bool = False,
    progress: Progress = silent,
) -> Compressed:
    """Make a model smaller.

    Args:
        path: the .onnx file.
        config: what to do; the defaults remove what can go at a drop of one per cent.
        out: where to write the result; None writes nothing.
        plan_out: where to write the plan; it comes into its place together with the model.
        report_out: where to write the report, likewise.
        overwrite: whether existing files may be replaced.
        progress: told (stage, done, total); the last stage is "write".

    Returns:
        The model, the plan and the report.

    Raises:
        SnacsError: one leaf for each way in which a run can end, see `errors`.
    """
    config = config or CompressConfig()
    check_config(config)
    if config.as_released:
        return compress_as_released(
            path,
            config,
            out=out,
            plan_out=plan_out,
            report_out=report_out,
            overwrite=overwrite,
            progress=progress,
        )
    criterion = find_criterion(config.criterion)
    provider = resolve_provider(config.provider)
    session = SessionConfig(provider=provider, threads=config.threads)
    clock = Clock()
    with clock.stage("load"):
        graph = load_model(Path(path))
        outputs = Outputs.of(path, out, plan_out, report_out, overwrite=overwrite)
    with clock.stage("analyse"):
        analysis = analyse(
            graph,
            allow_inexact=config.allow_inexact,
            input_shapes=config.data.input_shapes,
        )
        require_certain(analysis)
        require_runnable(analysis, needs_running(config, criterion))
        frozen = protected_groups(analysis, config.protect)
        frozen |= unseen_groups(analysis, config, criterion)
        costs = cost_model(analysis)
    require_prunable(analysis, frozen)
    with clock.stage("data"):
        source = open_source(config.data, graph, seed=config.seed)
        automatic = config.ratio is None and not config.target
        scoring, judging = split_source(source, SHARE_AUTO if automatic else SHARE)
    context = ScoreContext(analysis, scoring, session, config.seed, progress, groups=config.groups)
    result = rank_units(config, criterion, context, costs, clock)
    judge = Judge(analysis, judging, session, config.seed)
    with clock.stage("decide"):
        watch = LatencyWatch(analysis, judging, session)
        choice = decide(config, context, costs, result, judge, watch, frozen)
        require_cut(config, choice)
    keep = keep_map(analysis.ir, choice.kept)
    with clock.stage("prune"):
        model = prune(analysis, keep)
    with clock.stage("proof"):
        proof = prove(analysis, keep, model, threads=config.threads)
        require(proof)
    with clock.stage("drift"):
        moved = judge.drift(model) if analysis.facts.ran else None
    recovery, after = None, costs.cost(keep)
    if moved is not None:
        with clock.stage("recover"):
            samples = scoring.part(0, recovery_samples(analysis, scoring.samples))
            cut = Cut(analysis, keep, model, samples, session, config.seed, progress)
            outcome = recover_cut(config.recover, cut, judge, moved)
            after = with_added(after, model, outcome.model)
            model, recovery = outcome.model, outcome.report
            moved = judge.with_blend(model, outcome.drift)
    latency = None
    if "latency" in config.target:
        with clock.stage("latency"):
            latency = watch.measure(model, seconds=2.0)
        if not config.allow_slower:
            require_faster(latency.ratio)
    plan = make_plan(graph, analysis.ir, choice.kept, allow_inexact=config.allow_inexact)
    if recovery is not None and recovery.used != "none":
        plan = replace(plan, recovered=model_digest(model, graph.base_dir))
    report = make_report(analysis, costs, keep, proof, moved, path=str(path), out=out)
    report = replace(
        report,
        after=after,
        criterion=config.criterion,
        recovery=recovery,
        latency=latency,
        notes={**report.notes, **result.notes, **decision_notes(config, choice)},
        warnings=warnings_of(source, analysis),
        timings=clock.seconds,
        provider=provider,
        seed=config.seed,
    )
    progress("write", 0, 1)
    with clock.stage("write"):
        outputs.write(model, plan, report, graph.base_dir)
    return Compressed(model, plan, report)


def find_criterion(name: str) -> Criterion:
    """The criterion of a name.

    Raises:
        UsageError: there is none.
    """
    if name not in CRITERIA:
        raise UsageError(f"--criterion {name}: expected one of {', '.join(CRITERIA)}")
    return CRITERIA[name]
