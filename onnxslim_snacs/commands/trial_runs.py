"""The runs of `compare`: one criterion after the other, with all budgets and recoveries."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from time import perf_counter

import numpy as np
from onnx import ModelProto

from onnxslim_snacs.activations.samples import Samples
from onnxslim_snacs.activations.sources import CalibrationSource
from onnxslim_snacs.commands.planned import plan_of
from onnxslim_snacs.commands.recovered import recovered
from onnxslim_snacs.commands.refusals import frozen_groups, require_cut
from onnxslim_snacs.commands.trial_files import TrialFiles
from onnxslim_snacs.config import CompressConfig
from onnxslim_snacs.config.comparison import CompareConfig
from onnxslim_snacs.decide.decide import decide
from onnxslim_snacs.decide.rank import ordered, rank, score_context
from onnxslim_snacs.errors import SnacsError, foreign
from onnxslim_snacs.ir.keep import KeepMap
from onnxslim_snacs.judge.damage import Damage, damage_correlation, unit_damage
from onnxslim_snacs.judge.drift import Answers, Drift, drift, same_answers
from onnxslim_snacs.judge.judge import Judge, answers_to
from onnxslim_snacs.layers.consumers import Consumers
from onnxslim_snacs.plan.work import Work
from onnxslim_snacs.progress import Clock
from onnxslim_snacs.proof.prove import prove_cut
from onnxslim_snacs.report.trials import Scoring, TrialRun
from onnxslim_snacs.scores.criterion import Criterion, ScoreContext, ScoreResult
from onnxslim_snacs.scores.refit import moments_for


@dataclass(frozen=True, slots=True)
class Entry:
    """A criterion that takes part.

    Attributes:
        name: as it was typed, with its options.
        criterion: it.
        options: what was typed behind its name.
        is_drawn: whether its scores are drawn.
    """

    name: str
    criterion: Criterion
    options: Mapping[str, str]
    is_drawn: bool


@dataclass(frozen=True, slots=True)
class TrialBench:
    """What all runs share.

    Attributes:
        config: what to run.
        work: the model.
        samples: to score with, and to judge by.
        judge: compares with the original.
        tests: path -> further samples, and what the original answers to them.
        files: where results lie.
        jobs: (criterion, seed).
        keys: (target, recover) of each job.
        scores: (criterion's function, seed) -> its scores and how long they took.
        moments: seed -> second moments of what layers read.
        damage: of single units, once it was measured.
    """

    config: CompareConfig
    work: Work
    samples: Samples
    judge: Judge
    tests: Mapping[str, tuple[CalibrationSource, Answers]]
    files: TrialFiles
    jobs: Sequence[tuple[Entry, int]]
    keys: Sequence[tuple[str, str]]
    scores: dict[tuple[str, int], tuple[ScoreResult, float]] = field(default_factory=dict)
    moments: dict[int, Consumers] = field(default_factory=dict)
    damage: list[Damage] = field(default_factory=list)


def target_name(target: Mapping[str, float]) -> str:
    """`macs=0.5`, several with commas between them."""
    return ",".join(f"{key}={share:g}" for key, share in target.items())


def run_criterion(bench: TrialBench, entry: Entry, seed: int) -> None:
    """All budgets and recoveries of one criterion with one seed, as far as they are not there."""
    missing = [key for key in bench.keys if not bench.files.has_trial(entry.name, seed, *key)]
    if not missing and bench.files.has_scoring(entry.name, seed):
        return
    work = replace(bench.work, seed=seed, clock=Clock())
    shared = _Shared(bench, work, entry, seed)
    try:
        scoring = _scoring(shared)
    except (SnacsError, ImportError) as error:
        why = foreign(error)
        bench.files.put_scoring(Scoring(entry.name, seed, error=why))
        for target, recover in missing:
            bench.files.put_trial(TrialRun(entry.name, target, recover, seed, error=why))
        return
    bench.files.put_scoring(scoring)
    for config, trial in _trials(shared, missing):
        bench.files.put_trial(_tried(shared, config, trial))


@dataclass(frozen=True, slots=True)
class _Shared:
    """One criterion with one seed, and what its runs share.

    Attributes:
        bench: what all runs share.
        work: the model, with this seed.
        entry: the criterion.
        seed: of the runs.
        ranked: (recovery, what is saved) -> scores that compare across groups.
    """

    bench: TrialBench
    work: Work
    entry: Entry
    seed: int
    ranked: dict[tuple[str, str], ScoreResult] = field(default_factory=dict)

    @property
    def criterion(self) -> Criterion:
        """The criterion, whose scores are found once."""
        return replace(self.entry.criterion, score=lambda context: self.scored(context)[0])

    def scored(self, context: ScoreContext) -> tuple[ScoreResult, float]:
        """Scores, and the seconds that they took when they were found."""
        name = self.entry.name.split(":")[0].removesuffix("-refit")
        key = (":".join([name, *self.entry.name.split(":")[1:]]), self.seed)
        if key not in self.bench.scores:
            start = perf_counter()
            result = self.entry.criterion.score(context)
            self.bench.scores[key] = (result, perf_counter() - start)
        return self.bench.scores[key]

    def moments(self, context: ScoreContext) -> Consumers:
        """Second moments, found once for all criteria."""
        if self.seed not in self.bench.moments:
            self.bench.moments.clear()
            self.bench.moments[self.seed] = moments_for(context)
        return self.bench.moments[self.seed]


def _scoring(shared: _Shared) -> Scoring:
    """Score, and hold the scores against the damage of single units."""
    bench, entry = shared.bench, shared.entry
    context = score_context(shared.work, bench.samples.scoring)
    _, seconds = shared.scored(context)
    config = bench.config.run(bench.config.targets[0], entry.criterion.name, {}, "auto", 0)
    if entry.criterion.joins_refit:
        shared.moments(context)
    start = perf_counter()
    result, _ = ordered(context, config, shared.criterion, shared.moments)
    seconds += perf_counter() - start if entry.criterion.joins_refit else 0.0
    if not bench.config.damage:
        return Scoring(entry.name, shared.seed, seconds)
    damage = _damage(bench)
    raw, refit = (
        damage_correlation(result.scores, errors, damage.units)
        for errors in (damage.raw, damage.refit)
    )
    return Scoring(entry.name, shared.seed, seconds, raw, refit)


def _damage(bench: TrialBench) -> Damage:
    """Measured once, and read from the folder after that."""
    if not bench.damage:
        found = bench.files.damage()
        if found is None:
            found = unit_damage(
                bench.work.analysis,
                bench.samples.scoring,
                bench.samples.judging,
                bench.work.session,
                seed=bench.config.seed,
                progress=bench.work.progress,
            )
            bench.files.put_damage(found)
        bench.damage.append(found)
    return bench.damage[0]


def _trials(
    shared: _Shared, missing: Sequence[tuple[str, str]]
) -> Iterator[tuple[CompressConfig, TrialRun]]:
    config, entry = shared.bench.config, shared.entry
    for target in config.targets:
        for recover in config.recover:
            name = target_name(target)
            if (name, recover) in missing:
                one = config.run(target, entry.criterion.name, entry.options, recover, shared.seed)
                yield one, TrialRun(entry.name, name, recover, shared.seed)


def _tried(shared: _Shared, config: CompressConfig, trial: TrialRun) -> TrialRun:
    """One run, or why there is no result."""
    try:
        return _cut(shared, config, trial)
    except SnacsError as error:
        return replace(trial, error=foreign(error))


def _cut(shared: _Shared, config: CompressConfig, trial: TrialRun) -> TrialRun:
    bench, work = shared.bench, shared.work
    start = perf_counter()
    scores = _ranked(shared, config)
    frozen = frozen_groups(work.analysis, config, shared.entry.criterion)
    decision = decide(work, config, bench.samples, scores, bench.judge, frozen)
    require_cut(config.goal, decision.why)
    cut = prove_cut(work, decision.keep)
    final = recovered(work, config.recover, cut, bench.samples, bench.judge)
    seconds = perf_counter() - start
    plan = plan_of(work, config, decision, final, bench.samples.scoring)
    before, after = work.costs.cost(KeepMap({})), work.costs.cost(decision.keep)
    kept = {
        name: getattr(after, name) / max(1, getattr(before, name))
        for name in ("params", "macs", "bytes")
    }
    tests, hits, counted = _tested(bench, final.model)
    return replace(
        trial,
        used=final.report.used,
        kept=kept,
        seconds=seconds,
        drift=final.drift,
        tests=tests,
        hits=hits,
        counted=counted,
        plan=bench.files.put_plan(trial, plan),
    )


def _ranked(shared: _Shared, config: CompressConfig) -> ScoreResult:
    """Scores that compare across groups: budgets on the same cost share them."""
    key = (config.recover, next(iter(config.target)))
    if key not in shared.ranked:
        shared.ranked[key] = rank(
            shared.work,
            config,
            shared.criterion,
            shared.bench.samples.scoring,
            shared.moments,
        )
    return shared.ranked[key]


def _tested(bench: TrialBench, model: ModelProto) -> tuple[dict[str, Drift], str, int]:
    """How far a model is from the original on further samples, and which answers are alike."""
    work, held = bench.work, (bench.judge.source, bench.judge.reference)
    tests, alike = {}, []
    for name, (source, reference) in (bench.tests or {"": held}).items():
        said = answers_to(work.analysis, model, source, work.session)
        tests[name] = drift(reference, said)
        alike.append(same_answers(reference, said))
    known = [bits for bits in alike if bits is not None]
    bits = np.concatenate(known) if len(known) == len(alike) else np.zeros(0, dtype=bool)
    return tests if bench.tests else {}, np.packbits(bits).tobytes().hex(), len(bits)
