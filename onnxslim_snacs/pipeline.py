"""The pipeline, and the only place that knows the order of its stages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from importlib import metadata
from pathlib import Path
from time import perf_counter

from onnx import ModelProto

from onnxslim_snacs.activations.sources import Batch, CalibrationSource, open_source
from onnxslim_snacs.config import CompressConfig, DataConfig, check_config
from onnxslim_snacs.drift import Answers, Drift, answers, drift
from onnxslim_snacs.errors import NothingToPrune, UsageError
from onnxslim_snacs.ir.keep import KeepMap, keep_map
from onnxslim_snacs.ir.types import Group, is_virtual
from onnxslim_snacs.model.load import load_model
from onnxslim_snacs.model.save import save_model
from onnxslim_snacs.model.session import SessionConfig, resolve_provider
from onnxslim_snacs.ops.analyse import Analysis, analyse
from onnxslim_snacs.passes.prune import prune
from onnxslim_snacs.plan.choose import Choice, by_drop, by_ratio, by_target
from onnxslim_snacs.plan.cost import CostModel, cost_model
from onnxslim_snacs.plan.decide import Constraints, Kept
from onnxslim_snacs.plan.plan import Plan, check_plan, make_plan
from onnxslim_snacs.report.report import GroupReport, Report
from onnxslim_snacs.scores import CRITERIA
from onnxslim_snacs.scores.criterion import Progress, ScoreContext, ScoreResult, silent
from onnxslim_snacs.verify import Proof, prove, require

#: Samples that are set aside to judge a decision: enough for a standard error of about one per
#: cent at 90 % agreement, and never more than a quarter of what there is.
HELD_OUT = 512


@dataclass(slots=True)
class Clock:
    """Seconds by stage."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time that the block takes to a stage."""
        start = perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + perf_counter() - start


@dataclass(frozen=True, slots=True)
class Compressed:
    """What `compress` gives.

    Attributes:
        model: the smaller model.
        plan: what was cut.
        report: what happened.
    """

    model: ModelProto
    plan: Plan
    report: Report


def compress(
    path: Path | str,
    config: CompressConfig | None = None,
    *,
    out: Path | str | None = None,
    overwrite: bool = False,
    progress: Progress = silent,
) -> Compressed:
    """Make a model smaller.

    Args:
        path: the .onnx file.
        config: what to do; the defaults remove what can go at a drop of one per cent.
        out: where to write the result; None writes nothing.
        overwrite: whether an existing file may be replaced.
        progress: told (stage, done, total).

    Returns:
        The model, the plan and the report.

    Raises:
        SnacsError: one leaf for each way in which a run can end, see `errors`.
    """
    config = config or CompressConfig()
    check_config(config)
    if config.criterion not in CRITERIA:
        raise UsageError(f"--criterion {config.criterion}: expected one of {', '.join(CRITERIA)}")
    provider = resolve_provider(config.provider)
    session = SessionConfig(provider=provider, threads=config.threads)
    clock = Clock()
    with clock.stage("load"):
        graph = load_model(Path(path))
    with clock.stage("analyse"):
        analysis = analyse(
            graph,
            allow_inexact=config.allow_inexact,
            input_shapes=config.data.input_shapes,
        )
        frozen = protected_groups(analysis, config.protect)
        costs = cost_model(analysis)
    if not prunable(analysis.ir.groups):
        raise NothingToPrune("no channel of this model can go: " + explain(analysis))
    with clock.stage("data"):
        source = open_source(config.data, graph, seed=config.seed)
        scoring, judging = split_source(source)
    with clock.stage("score"):
        result = CRITERIA[config.criterion].score(
            ScoreContext(analysis, scoring, session, config.seed, progress)
        )
    judge = Judge(analysis, judging, session)
    with clock.stage("decide"):
        choice = decide(config, analysis, costs, result, judge, frozen)
    keep = keep_map(analysis.ir, choice.kept)
    with clock.stage("prune"):
        model = prune(analysis, keep)
    with clock.stage("proof"):
        proof = prove(analysis, keep, model, threads=config.threads)
        require(proof)
    with clock.stage("drift"):
        moved = judge.drift(model)
    if out is not None:
        with clock.stage("write"):
            save_model(
                model,
                Path(out),
                base_dir=graph.base_dir,
                source=Path(path),
                overwrite=overwrite,
            )
    plan = make_plan(graph, analysis.ir, choice.kept, allow_inexact=config.allow_inexact)
    report = make_report(analysis, costs, keep, proof, moved, path=str(path), out=out)
    report = replace(
        report,
        criterion=config.criterion,
        notes={**result.notes, **decision_notes(config, choice)},
        warnings=warnings_of(source, analysis),
        timings=clock.seconds,
        provider=provider,
        seed=config.seed,
    )
    return Compressed(model, plan, report)


def protected_groups(analysis: Analysis, patterns: Sequence[str]) -> frozenset[str]:
    """Groups that lie on a tensor, or on an output of a node, whose name matches a pattern.

    Raises:
        UsageError: a pattern matches no node and no tensor.
    """
    tensors: set[str] = set()
    for pattern in patterns:
        found: set[str] = set()
        for node in analysis.nodes:
            whole = bool(node.proto.name) and fnmatchcase(node.proto.name, pattern)
            found.update(o for o in node.outputs if whole or fnmatchcase(o, pattern))
            found.update(i for i in node.inputs if i and fnmatchcase(i, pattern))
        if not found:
            raise UsageError(f"--protect {pattern}: no node and no tensor has such a name")
        tensors |= found
    return frozenset(
        g.id for g in analysis.ir.groups if any(m.axis.tensor in tensors for m in g.members)
    )


def prunable(groups: Sequence[Group]) -> bool:
    """Whether any group has a unit to spare."""
    return any(group.units > 1 for group in groups)


def explain(analysis: Analysis) -> str:
    """The first reasons why nothing can go."""
    reasons = dict.fromkeys(f"{p.axis} ({p.op}): {p.reason}" for p in analysis.ir.pins)
    return "; ".join(list(reasons)[:5]) or "it has no layer whose channels are summed over"


def split_source(source: CalibrationSource) -> tuple[CalibrationSource, CalibrationSource]:
    """Samples for scoring and samples for judging; the latter are the last ones."""
    total = source.samples
    aside = min(HELD_OUT, max(1, total // 4))
    if total < 2:
        return source, source
    return source.part(0, total - aside), source.part(total - aside, total)


@dataclass(slots=True)
class Judge:
    """Compares cut models with the original on samples that scoring has not seen."""

    analysis: Analysis
    source: CalibrationSource
    session: SessionConfig
    _batches: list[Batch] = field(default_factory=list)
    _reference: Answers | None = None

    def drift(self, model: ModelProto) -> Drift:
        """How far a model is from the original."""
        base_dir = self.analysis.graph.base_dir
        if self._reference is None:
            self._batches = list(self.source.batches())
            self._reference = answers(
                self.analysis.graph.proto, self._batches, self.session, base_dir
            )
        return drift(self._reference, answers(model, self._batches, self.session, base_dir))

    def drop(self, kept: Kept) -> float:
        """What a decision costs."""
        return self.drift(prune(self.analysis, keep_map(self.analysis.ir, kept))).drop


def decide(
    config: CompressConfig,
    analysis: Analysis,
    costs: CostModel,
    result: ScoreResult,
    judge: Judge,
    frozen: frozenset[str],
) -> Choice:
    """Which units stay: by ratio, by target, or by the tolerated drop."""
    groups = analysis.ir.groups
    constraints = Constraints(config.multiple_of, result.limits, result.protected, frozen)
    globally = CRITERIA[config.criterion].ranks_globally
    if config.ratio is not None:
        return by_ratio(groups, result.scores, config.ratio, constraints)
    if not config.target:
        return by_drop(
            groups, result.scores, judge.drop, config.max_drop, constraints, globally=globally
        )
    before = costs.cost(KeepMap({}))
    shares = {name: share for name, share in config.target.items() if name != "latency"}

    def price(kept: Kept) -> float:
        after = costs.cost(keep_map(analysis.ir, kept))
        return max(
            float(getattr(after, name)) / max(1, getattr(before, name)) / share
            for name, share in shares.items()
        )

    return by_target(groups, result.scores, price, constraints, globally=globally)


def decision_notes(config: CompressConfig, choice: Choice) -> dict[str, object]:
    """What the decision has to tell."""
    notes: dict[str, object] = {}
    if choice.exceeded:
        notes["limits_exceeded"] = {
            name: {"limit": limit, "removed": removed}
            for name, (limit, removed) in choice.exceeded.items()
        }
    if choice.tried:
        notes["tried"] = [{"share": share, "drop": drop} for share, drop in choice.tried]
        notes["max_drop"] = config.max_drop
    return notes


def warnings_of(source: CalibrationSource, analysis: Analysis) -> tuple[str, ...]:
    """What the user should know."""
    found = []
    if source.is_random:
        found.append(
            "no --data: scores and drift come from random inputs and say little about accuracy"
        )
    if not analysis.facts.ran:
        found.append(f"the model could not be run to learn its shapes: {analysis.facts.note}")
    return tuple(found)


def make_report(
    analysis: Analysis,
    costs: CostModel,
    keep: KeepMap,
    proof: Proof | None,
    moved: Drift | None,
    *,
    path: str,
    out: Path | str | None,
) -> Report:
    """The report on a cut."""
    return Report(
        model=path,
        output=None if out is None else str(out),
        before=costs.cost(KeepMap({})),
        after=costs.cost(keep),
        groups=group_reports(analysis, costs, keep),
        pins=analysis.ir.pins,
        proof=proof,
        drift=moved,
        criterion="",
        versions=versions(),
    )


def group_reports(analysis: Analysis, costs: CostModel, keep: KeepMap) -> tuple[GroupReport, ...]:
    """Every group with what is kept of it and what it weighs."""
    before = costs.cost(KeepMap({}))
    found = []
    for group in analysis.ir.groups:
        real = [m for m in group.members if not is_virtual(m.axis)]
        index = keep.index(real[0].axis)
        kept = group.units
        if index is not None:
            stays = set(index.tolist())
            kept = sum(all(int(s) in stays for s in row) for row in real[0].index)
        one = keep_map(analysis.ir, {group.id: _all_but_first(group)}) if group.units > 1 else None
        without = costs.cost(one) if one is not None else before
        found.append(
            GroupReport(
                id=group.id,
                label=group.label,
                axes=tuple(str(m.axis) for m in real),
                units=group.units,
                kept=kept,
                params=before.params - without.params,
                macs=before.macs - without.macs,
            )
        )
    return tuple(found)


def _all_but_first(group: Group):  # type: ignore[no-untyped-def]
    import numpy as np

    return np.arange(group.units) == 0


def versions() -> Mapping[str, str]:
    """Versions of this package and those that it stands on."""
    found = {}
    for name in ("onnxslim-snacs", "onnx", "onnxruntime", "onnxruntime-gpu", "numpy", "torch"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def apply_plan(
    path: Path | str,
    plan: Plan,
    *,
    out: Path | str | None = None,
    overwrite: bool = False,
    data: DataConfig | None = None,
    threads: int = 1,
) -> Compressed:
    """Replay a plan: the same model, byte for byte."""
    clock = Clock()
    with clock.stage("load"):
        graph = load_model(Path(path))
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
    if out is not None:
        save_model(
            model, Path(out), base_dir=graph.base_dir, source=Path(path), overwrite=overwrite
        )
    report = make_report(analysis, cost_model(analysis), keep, proof, None, path=str(path), out=out)
    return Compressed(model, plan, replace(report, timings=clock.seconds))


def verify_files(before: Path | str, after: Path | str, plan: Plan, *, threads: int = 1) -> Proof:
    """The proof on its own, for two files and the plan that leads from one to the other."""
    graph, other = load_model(Path(before)), load_model(Path(after))
    analysis = analyse(graph, allow_inexact=plan.allow_inexact)
    check_plan(plan, graph, analysis.ir)
    return prove(analysis, keep_map(analysis.ir, plan.kept()), other.proto, threads=threads)
