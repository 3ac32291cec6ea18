"""From what a run knows to its report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnxslim_snacs.activations.images import ImageTable
from onnxslim_snacs.activations.sources import CalibrationSource
from onnxslim_snacs.arithmetic.current import arithmetic
from onnxslim_snacs.config import CompressConfig, Drop, ReleasedConfig
from onnxslim_snacs.config.line import as_options
from onnxslim_snacs.decide.choose import Choice
from onnxslim_snacs.decide.curves import Curve
from onnxslim_snacs.decide.slopes import CURVES
from onnxslim_snacs.errors import foreign
from onnxslim_snacs.ir.keep import KeepMap
from onnxslim_snacs.judge.drift import Drift, answers_alike
from onnxslim_snacs.judge.judge import Judge
from onnxslim_snacs.ops.analyse import Analysis
from onnxslim_snacs.plan.work import Work
from onnxslim_snacs.proof.dropped import DropProof
from onnxslim_snacs.proof.inexact import inexact_nodes
from onnxslim_snacs.proof.outcome import Proof
from onnxslim_snacs.recovery.accept import RecoveryReport
from onnxslim_snacs.report.by_group import group_reports
from onnxslim_snacs.report.knots import knots, layer_reports, pin_chains
from onnxslim_snacs.report.report import DroppedReport, Report, TunedReport

if TYPE_CHECKING:
    from onnxslim_snacs.training.tune import Tuned

#: The warning that nobody may overlook.
NO_DATA = (
    "no --data: random inputs are used, and what they say about accuracy means little; give some "
    "samples of real data"
)

#: What a written model may be.
CUT, REFITTED, TRAINED = "cut", "re-fitted", "trained"
#: The same in a sentence.
WHAT = {
    CUT: "the raw cut",
    REFITTED: "the cut with re-fitted weights",
    TRAINED: "the cut with trained weights",
}
#: What is said of a cut that its plan goes on from.
RAW = (
    "this is the raw cut: the plan's own model was re-fitted after it and answers otherwise "
    "(`apply --data` with its data makes that one)"
)


def made_by(recovery: RecoveryReport) -> str:
    """What a model is after recovery."""
    return CUT if recovery.used == "none" else REFITTED


def decision_notes(config: CompressConfig, choice: Choice) -> dict[str, object]:
    """What the decision has to tell."""
    notes: dict[str, object] = {}
    if choice.exceeded:
        notes["limits_exceeded"] = {
            name: {"limit": limit, "removed": removed}
            for name, (limit, removed) in choice.exceeded.items()
        }
    if choice.tilts:
        notes["allocations"] = [
            {"sharing": tilt.sharing, "depth": tilt.depth, "rel_error": error}
            for tilt, error in choice.tilts
        ]
    if choice.multiples:
        notes["multiples"] = {str(step): time for step, time in choice.multiples.items()}
    if choice.tried:
        notes["tried"] = [{"share": share, "drop": drop} for share, drop in choice.tried]
    if isinstance(config.goal, Drop):
        notes["max_drop"] = config.goal.most
    return notes


def warnings_of(
    source: CalibrationSource, analysis: Analysis, judge: Judge | None = None
) -> tuple[str, ...]:
    """What the user should know.

    Args:
        source: the samples.
        analysis: the model.
        judge: what the original answers to some of them.
    """
    found = []
    if source.is_random:
        found.append(NO_DATA)
    elif judge is not None and answers_alike(judge.reference):
        found.append(
            "the original gives all samples the same answer: that the cut model gives it, too, "
            "says nothing"
        )
    if isinstance(source.table, ImageTable) and source.table.is_plain:
        found.append(
            "images are scaled to 0 ... 1 and no more: what was trained on other values wants its "
            "--mean and --std, or --preset imagenet; what such samples say of it is wrong"
        )
    if source.left_out:
        found.append(
            f"{len(source.left_out)} files of {foreign(source.name)} are no samples and were left "
            f"out: {foreign(_few(source.left_out))}"
        )
    if analysis.given is not None and analysis.given.proto.functions:
        found.append(
            "the model's local functions are expanded where they are called: each call can lose "
            "channels of its own"
        )
    if analysis.folds:
        found.append(
            f"the file computes {len(analysis.folds)} of its weights from others (weight norm and "
            "the like): where the cut reaches one, it is stored as it comes out"
        )
    if not analysis.facts.ran:
        found.append(
            "ONNX Runtime does not have an operator of this model: the proof leaves it out, and "
            f"nothing was compared end to end ({analysis.facts.note})"
        )
    settled = analysis.facts.settled
    if settled is not None and settled.stuck:
        found.append(
            "declared dynamic, but only one size was found at which the model runs: "
            f"{', '.join(settled.names())}; what depends on it keeps all its channels, and nothing "
            "was compared at other sizes: --input-shape NAME=... names one to begin with"
        )
    return tuple(found)


def _few(names: Sequence[str], most: int = 5) -> str:
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def make_report(
    work: Work, keep: KeepMap, proof: Proof | None, moved: Drift | None, *, out: Path | str | None
) -> Report:
    """The report on a cut.

    Args:
        work: the model that was cut.
        keep: what stays.
        proof: of the cut.
        moved: how far the result is from the original; None if nobody has looked.
        out: where it goes.
    """
    analysis, costs = work.analysis, work.costs
    return Report(
        model=work.path,
        output=None if out is None else str(out),
        before=work.whole.costs.cost(KeepMap({})),
        after=costs.cost(keep),
        groups=group_reports(analysis, costs, keep),
        pins=analysis.ir.pins,
        inexact=inexact_nodes(analysis, keep),
        proof=proof,
        drift=moved,
        criterion="",
        notes=cut_notes(analysis, keep),
        timings=work.clock.seconds,
        provider=work.session.provider,
        arithmetic=arithmetic().title,
        seed=work.seed,
        versions=versions(),
        threads=work.session.threads,
        layers=layer_reports(analysis, costs, keep),
        nodes=knots(analysis)[0],
        chains=pin_chains(analysis),
    )


def tuned_report(minutes: float, tuned: Tuned) -> TunedReport:
    """The report on training at the end."""
    went = tuned.trained
    return TunedReport(
        minutes=minutes,
        steps=went.steps,
        seconds=went.seconds,
        improved=not tuned.why,
        why=tuned.why,
        stopped=went.stopped,
        before=tuned.before,
    )


def dropped_report(
    work: Work,
    proof: DropProof | None,
    found: int,
    order: str,
    tried: Mapping[int, float] | None = None,
) -> DroppedReport:
    """The report on whole blocks.

    Args:
        work: what is left.
        proof: of the drop; None if nothing was dropped.
        found: how many blocks could go.
        order: in which order they went.
        tried: blocks that go -> error of the outputs, of what was compared.
    """
    gone = () if work.reduced is None else work.reduced.dropped
    blocks = tuple((branch.exit, branch.shortcut) for branch in gone)
    return DroppedReport(found, order, blocks, tuple(sorted((tried or {}).items())), proof)


def cut_notes(analysis: Analysis, keep: KeepMap) -> dict[str, object]:
    """Outputs that keep their extent although units behind them go: zeros stand for those."""
    ports = []
    for position, blank in analysis.ir.blanks:
        index, node = keep.index(blank.axis), analysis.nodes[position]
        if index is not None:
            units = analysis.ir.table.extent(blank.axis)
            state = foreign(node.outputs[blank.output])
            ports.append(
                {"node": foreign(node.name), "state": state, "units": units, "kept": len(index)}
            )
    return {"state_ports": ports} if ports else {}


def asked(
    report: Report, config: CompressConfig | ReleasedConfig, out: Path | str | None
) -> Report:
    """The report with what was asked for, and the command line that asks for it again."""
    name = "compress" if isinstance(config, CompressConfig) else "released"
    place = () if out is None else ("-o", str(out))
    report = replace(
        report, command=("snacs-onnx", name, report.model, *as_options(config), *place)
    )
    if isinstance(config, CompressConfig):
        return replace(report, config=config)
    return replace(report, released=config)


def with_curves(report: Report, notes: Mapping[str, Any]) -> Report:
    """The report with the error curves of its groups, which lie among the notes of their scores."""
    curves = notes.get(CURVES, {})
    groups = (
        replace(g, curve=_points(curves[g.id]) if g.id in curves else ()) for g in report.groups
    )
    rest = {name: note for name, note in notes.items() if name != CURVES}
    return replace(report, groups=tuple(groups), notes={**report.notes, **rest})


def _points(curve: Curve) -> tuple[tuple[int, float], ...]:
    return tuple(zip(curve.removed.tolist(), curve.error.tolist(), strict=True))


def versions() -> Mapping[str, str]:
    """Versions of this package and those that it stands on."""
    found = {}
    for name in ("onnxslim-snacs", "onnx", "onnxruntime", "onnxruntime-gpu", "numpy", "torch"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
