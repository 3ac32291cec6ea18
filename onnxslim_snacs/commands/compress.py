"""Make a model smaller."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from onnxslim_snacs.activations.distinct import require_different
from onnxslim_snacs.activations.open_data import files_of
from onnxslim_snacs.activations.samples import Samples
from onnxslim_snacs.activations.sources import CalibrationSource
from onnxslim_snacs.activations.users import files_of_function
from onnxslim_snacs.blocks.take import Taken
from onnxslim_snacs.commands.account import Account, plan_and_report
from onnxslim_snacs.commands.begin import all_samples, begin
from onnxslim_snacs.commands.blockwise import proved_drop, without_asked_blocks
from onnxslim_snacs.commands.computes import computes
from onnxslim_snacs.commands.finetune import never
from onnxslim_snacs.commands.foresee import foresee, is_quick
from onnxslim_snacs.commands.gate import require_worth
from onnxslim_snacs.commands.last_training import trained_at_the_end
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
from onnxslim_snacs.commands.room import require_room
from onnxslim_snacs.commands.shared import shared_out
from onnxslim_snacs.commands.signature import sign, tied
from onnxslim_snacs.commands.start import Compressed
from onnxslim_snacs.config import Budget, CompressConfig
from onnxslim_snacs.config.fields import checked
from onnxslim_snacs.decide.decide import Decision, decide
from onnxslim_snacs.decide.latency import require_faster
from onnxslim_snacs.decide.rank import rank
from onnxslim_snacs.judge.judge import Judge, open_judge
from onnxslim_snacs.judge.stopwatch import Latency, LatencyWatch
from onnxslim_snacs.model.opened import AnyModel, open_model
from onnxslim_snacs.plan.work import Work
from onnxslim_snacs.progress import Clock, Foreseen, Progress, silent, unforeseen
from onnxslim_snacs.proof.outcome import ProvedCut
from onnxslim_snacs.proof.prove import prove_cut
from onnxslim_snacs.recovery.accept import Outcome
from onnxslim_snacs.scores import find_criterion
from onnxslim_snacs.scores.criterion import ScoreResult, with_options
from onnxslim_snacs.torch_graph.network import open_network


@checked
@names_file
@computes(CompressConfig)
def compress(
    model: AnyModel,
    config: CompressConfig | None = None,
    *,
    out: Path | str | None = None,
    plan_out: Path | str | None = None,
    report_out: Path | str | None = None,
    html_out: Path | str | None = None,
    overwrite: bool = False,
    cluster: str | None = None,
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
        cluster: the address of a Dask scheduler whose workers see the same files, or `local:N`, to
            share the work out; the same files come of it.
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
        outputs = Outputs.of(
            opened.path,
            opened.graph,
            model=out,
            plan=plan_out,
            report=report_out,
            html=html_out,
            overwrite=overwrite,
            inputs=(*files_of(config.data), *files_of_function(config.metric)),
        )
    begun = begin(opened, config, clock, progress)
    work = begun.work
    require_certain(work.analysis)
    if config.finetune is not None:
        open_network(work.graph)  # what torch lacks is said at once
    frozen = frozen_groups(work.analysis, config, criterion)
    if not config.blocks:
        require_prunable(work.analysis, frozen)
    with clock.stage("data"):
        source, samples = all_samples(begun, config)
        few = require_different(source)
    require_room(work, config, samples)
    judge = _judge(work, config, samples.judging)
    foreseen(foresee(work, config, samples, judge))
    with shared_out(work, config, samples, opened, cluster) as work:
        scores = ScoreResult({})
        if work.analysis.ir.groups:
            scores = rank(work, config, criterion, samples.scoring)
        taken = without_asked_blocks(work, config, samples, scores, judge, frozen)
        dropped = proved_drop(taken, config)
        decision = _decided(taken, config, samples, judge)
    work = taken.work
    cut = prove_cut(work, decision.keep)
    final = None if judge is None else recovered(work, config.recover, cut, samples, judge)
    left = cut if final is None else final
    shown = html_out is not None and judge is not None and is_quick(work, judge)
    latency = _latency(work, config, samples.judging, left, shown=shown)
    tuned = trained_at_the_end(work, config, samples, final, heed)
    run = Account(
        simpler=begun.simpler,
        turned=begun.turned,
        source=source,
        few=few,
        judge=judge,
        scores=scores,
        taken=taken,
        dropped=dropped,
        decision=decision,
        cut=cut,
        final=final,
        latency=latency,
        tuned=tuned,
    )
    plan, report = plan_and_report(run, config, out)
    require_worth(report, config.require)
    made = left.model if tuned is None else tuned.model
    if config.metadata:
        sign(made, plan, report)
    done = Compressed(made, plan, tied(report, plan))
    outputs.write(done, work.graph.base_dir, clock, progress, told)
    return done


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


def _decided(
    taken: Taken, config: CompressConfig, samples: Samples, judge: Judge | None
) -> Decision:
    """Which units stay, of what is left of the blocks.

    Raises:
        NothingToPrune: nothing can go, or not as much as was asked for.
    """
    with taken.work.clock.stage("decide"):
        decision = decide(taken.work, taken.config, samples, taken.scores, judge, taken.frozen)
        if not taken.dropped:
            require_cut(config.goal, decision.why)
    return decision


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
