"""The pipeline, and the only place that knows the order of its stages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from onnxslim_snacs.activations.sources import open_source
from onnxslim_snacs.config import CompressConfig, DataConfig, check_config
from onnxslim_snacs.deciding import decide
from onnxslim_snacs.errors import ProofFailed, UsageError, foreign
from onnxslim_snacs.ir.keep import keep_map
from onnxslim_snacs.judge import SHARE, SHARE_AUTO, Judge, LatencyWatch, split_source
from onnxslim_snacs.model.interface import interface_difference
from onnxslim_snacs.model.load import load_model
from onnxslim_snacs.model.session import SessionConfig, resolve_provider
from onnxslim_snacs.ops.analyse import analyse
from onnxslim_snacs.outcome import Clock, Compressed
from onnxslim_snacs.outputs import Outputs
from onnxslim_snacs.passes.prune import prune
from onnxslim_snacs.passes.recover import Cut
from onnxslim_snacs.plan.cost import cost_model
from onnxslim_snacs.plan.latency import require_faster
from onnxslim_snacs.plan.plan import Plan, check_plan, make_plan
from onnxslim_snacs.progress import Progress, silent
from onnxslim_snacs.ranking import rank_units
from onnxslim_snacs.recovered import (
    model_digest,
    recover_cut,
    recovery_samples,
    with_added,
)
from onnxslim_snacs.refusals import (
    needs_running,
    protected_groups,
    require_cut,
    require_prunable,
    require_runnable,
    unseen_groups,
)
from onnxslim_snacs.released import compress_as_released
from onnxslim_snacs.report.make import decision_notes, make_report, warnings_of
from onnxslim_snacs.scores import CRITERIA
from onnxslim_snacs.scores.criterion import Criterion, ScoreContext
from onnxslim_snacs.verify import Proof, prove, require


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


def apply_plan(
    path: Path | str,
    plan: Plan,
    *,
    out: Path | str | None = None,
    report_out: Path | str | None = None,
    overwrite: bool = False,
    data: DataConfig | None = None,
    threads: int = 1,
    progress: Progress = silent,
) -> Compressed:
    """Replay a plan: the same model, byte for byte.

    Args:
        path: the .onnx file.
        plan: what `compress` has decided, perhaps edited by hand.
        out: where to write the result; None writes nothing.
        report_out: where to write the report; it comes into its place together with the model.
        overwrite: whether existing files may be replaced.
        data: sizes of inputs that cannot be guessed.
        threads: threads of ONNX Runtime.
        progress: told (stage, done, total); the last stage is "write".

    Raises:
        SnacsError: one leaf for each way in which a run can end, see `errors`.
    """
    clock = Clock()
    with clock.stage("load"):
        graph = load_model(Path(path))
        outputs = Outputs.of(path, out, None, report_out, overwrite=overwrite)
    shapes = (data or DataConfig()).input_shapes
    with clock.stage("analyse"):
        analysis = analyse(graph, allow_inexact=plan.allow_inexact, input_shapes=shapes)
    check_plan(plan, graph, analysis.ir)
    keep = keep_map(analysis.ir, plan.kept())
    with clock.stage("prune"):
        model = prune(analysis, keep)
    with clock.stage("proof"):
        proof = prove(analysis, keep, model, threads=threads)
        require(proof)
    costs = cost_model(analysis)
    report = make_report(analysis, costs, keep, proof, None, path=str(path), out=out)
    report = replace(report, criterion="plan", timings=clock.seconds)
    progress("write", 0, 1)
    with clock.stage("write"):
        outputs.write(model, plan, report, graph.base_dir)
    return Compressed(model, plan, report)


def verify_files(
    before: Path | str,
    after: Path | str,
    plan: Plan,
    *,
    input_shapes: Mapping[str, tuple[int, ...]] | None = None,
    threads: int = 1,
) -> Proof:
    """The proof on its own, for two files and the plan that leads from one to the other.

    A model that was recovered after the cut computes something else than the cut model: it is held
    against the digest in the plan, and what is proved is the cut.

    Args:
        before: the original.
        after: the cut model.
        plan: what was cut.
        input_shapes: sizes of inputs that cannot be guessed.
        threads: threads of ONNX Runtime.

    Raises:
        InputRefused: a file is no model, or the plan belongs to another one.
        ProofFailed: the inputs and outputs of the two differ.
    """
    graph, other = load_model(Path(before)), load_model(Path(after))
    analysis = analyse(graph, allow_inexact=plan.allow_inexact, input_shapes=input_shapes)
    check_plan(plan, graph, analysis.ir)
    different = interface_difference(graph.proto, other.proto)
    if different:
        raise ProofFailed(f"{foreign(after)} cannot take the place of the original: {different}")
    keep = keep_map(analysis.ir, plan.kept())
    if plan.recovered and plan.recovered == model_digest(other.proto, other.base_dir):
        return prove(analysis, keep, prune(analysis, keep), threads=threads)
    return prove(analysis, keep, other.proto, threads=threads, pruned_dir=other.base_dir)
