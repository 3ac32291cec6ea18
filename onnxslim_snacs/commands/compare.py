"""Criteria, budgets and recoveries on one model, side by side.

The model is read, understood and judged once, and scores and second moments are found once for all
runs that share them.  Every run leaves a file in a folder as soon as it is through; what is there
is not done again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from onnxslim_snacs.activations.open_data import open_source
from onnxslim_snacs.activations.samples import Samples, split
from onnxslim_snacs.commands.computes import computes
from onnxslim_snacs.commands.refusals import (
    require_certain,
    require_prunable,
    require_runnable,
)
from onnxslim_snacs.commands.sampled import named_samples, settled_samples
from onnxslim_snacs.commands.start import Setup, open_work
from onnxslim_snacs.commands.trial_files import open_folder
from onnxslim_snacs.commands.trial_runs import Entry, TrialBench, run_criterion, target_name
from onnxslim_snacs.config.comparison import CompareConfig
from onnxslim_snacs.config.fields import checked
from onnxslim_snacs.errors import NothingToPrune, UsageError
from onnxslim_snacs.judge.judge import affordable, answers_to, open_judge
from onnxslim_snacs.model.load import load_model
from onnxslim_snacs.plan.plan import model_digest
from onnxslim_snacs.progress import Clock, Progress, silent
from onnxslim_snacs.report.pareto import pareto_svg
from onnxslim_snacs.report.standings import make_trials
from onnxslim_snacs.report.trials import Trials
from onnxslim_snacs.scores import CRITERIA, find_criterion
from onnxslim_snacs.scores.criterion import with_options

#: Takes a hundred times as long as the others, and runs only if it is asked for.
SLOW = "mint"


@checked
@computes(CompareConfig)
def compare(
    path: Path | str,
    config: CompareConfig,
    *,
    out: Path | str,
    overwrite: bool = False,
    progress: Progress = silent,
) -> Trials:
    """Run criteria with budgets and recoveries, and hold them against each other.

    Args:
        path: the .onnx file.
        config: what to run.
        out: the folder of results; what lies there from an earlier call is not done again.
        overwrite: begin anew where the folder holds results of another model or other data.
        progress: told (stage, done, total) of whole runs, and of their stages.

    Raises:
        SnacsError: one leaf for each way in which a run can end, see `errors`; what only one of
            the runs cannot do stands in its place in the table.
    """
    criteria = [_named(text) for text in config.criteria or [n for n in CRITERIA if n != SLOW]]
    bench = _open(Path(path), config, Path(out), criteria, overwrite=overwrite, progress=progress)
    for number, (entry, seed) in enumerate(bench.jobs):
        progress("criteria", number, len(bench.jobs))
        run_criterion(bench, entry, seed)
    progress("criteria", len(bench.jobs), len(bench.jobs))
    trials, scorings = bench.files.all(bench.jobs, bench.keys)
    done = make_trials(str(path), str(out), trials, scorings)
    bench.files.finish(done, pareto_svg(done))
    if all(trial.drift is None for trial in trials):
        raise NothingToPrune(f"no run gave a result; the first one: {trials[0].error}")
    return done


def _named(text: str) -> Entry:
    """`name:option=value:...`."""
    name, *settings = text.split(":")
    options = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals:
            raise UsageError(f"--criteria {text}: expected NAME:OPTION=VALUE")
        options[key] = value
    criterion = with_options(find_criterion(name), options)
    return Entry(text, criterion, options, name == "random")


def _open(
    path: Path,
    config: CompareConfig,
    out: Path,
    criteria: Sequence[Entry],
    *,
    overwrite: bool,
    progress: Progress,
) -> TrialBench:
    graph = load_model(path)
    given = named_samples(config.data, graph, config.seed)
    shapes = given.shapes() if given is not None else ()
    setup = Setup(
        config.provider,
        config.threads,
        config.seed,
        input_shapes=config.data.input_shapes,
        examples=shapes,
    )
    work = open_work(path, graph, setup, Clock(), progress)
    require_certain(work.analysis)
    require_runnable(work.analysis, "compare")
    require_prunable(work.analysis, frozenset())
    facts = work.analysis.facts
    samples = split(settled_samples(given, config.data, work))
    identity = _identity(model_digest(graph.proto, graph.base_dir), samples, config)
    files = open_folder(out, identity, overwrite=overwrite)
    judge = open_judge(work.analysis, samples.judging, work.session, config.seed)
    tests = {}
    for name in config.tests:
        further = open_source(replace(config.data, path=name, samples=None), graph).settled(facts)
        further = further.part(0, affordable(work.analysis, further.samples))
        tests[name] = (further, answers_to(work.analysis, graph.proto, further, work.session))
    jobs = [
        (entry, config.seed + number)
        for entry in criteria
        for number in range(max(config.repeats, config.seeds if entry.is_drawn else 1))
    ]
    keys = [(target_name(t), r) for t in config.targets for r in config.recover]
    return TrialBench(
        config=config,
        work=work,
        samples=samples,
        judge=judge,
        tests=tests,
        files=files,
        jobs=jobs,
        keys=keys,
    )


def _identity(digest: str, samples: Samples, config: CompareConfig) -> str:
    """Of what every result depends on: the model, the samples, and how they are run."""
    sha = hashlib.sha256(digest.encode())
    for source in (samples.scoring, samples.judging):
        sha.update(str(source.samples).encode())
        batch = next(iter(source.part(0, min(8, source.samples)).batches(1)))
        for name in sorted(batch.inputs):
            sha.update(name.encode())
            sha.update(batch.inputs[name].tobytes())
    sha.update(json.dumps([config.tests, config.tries, config.threads, config.damage]).encode())
    return sha.hexdigest()
