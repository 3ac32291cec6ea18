"""What training did, as data and as a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from onnxslim_snacs.config import FinetuneConfig
from onnxslim_snacs.errors import foreign
from onnxslim_snacs.judge.drift import Drift
from onnxslim_snacs.report.report import FORMAT


@dataclass(frozen=True, slots=True)
class RemovedUnits:
    """What training has driven to zero, and what was then removed.

    Attributes:
        units: group -> how many.
        left_out: groups that do not fall silent when their weights are zero.
        macs: share of the multiply-accumulates that is left.
        proof: largest relative difference of the proof of the cut.
        difference: the largest relative difference of the outputs with the zeros and without them,
            on held-out samples.
    """

    units: Mapping[str, int]
    left_out: tuple[str, ...]
    macs: float
    proof: float
    difference: float


@dataclass(frozen=True, slots=True)
class TrainingReport:
    """What training did.

    Attributes:
        model: path of the model that came in.
        teacher: path of the model that answered.
        output: path of the result, None if none was written.
        improved: whether the result is a better model than the one that came in; if not, it is
            that one.
        why: if it is not: why.
        samples: that were trained on, and that were held out.
        before: distance from the teacher on samples that were held out.
        after: the same of the result.
        logit_error: of the answers in front of a softmax or sigmoid, before and after.
        steps: batches.
        seconds: of training.
        stopped: why it ended before its time, "" if it did not.
        curve: (step, error, agreement) on held-out samples.
        timings: seconds by stage.
        format: version of this schema.
        config: what was asked for.
        command: the command line that repeats the run, one argument each.
        versions: of this package and those that it stands on.
        removed: the units that `--sparse` has taken away.
        statistics_anew: whether the result has statistics of normalisations that were taken anew.
    """

    model: str
    teacher: str
    output: str | None
    improved: bool
    why: str
    samples: tuple[int, int]
    before: Drift
    after: Drift
    logit_error: tuple[float, float]
    steps: int
    seconds: float
    stopped: str
    curve: tuple[tuple[int, float, float | None], ...]
    timings: Mapping[str, float] = field(default_factory=dict)
    format: int = FORMAT
    config: FinetuneConfig | None = None
    command: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    removed: RemovedUnits | None = None
    statistics_anew: bool = False


def removed_line(removed: RemovedUnits) -> str:
    """What `--sparse` has taken away, as a sentence."""
    said = (
        f"{sum(removed.units.values())} units of {len(removed.units)} groups came to zero and were "
        f"removed: {100 * removed.macs:.1f} % of the multiply-accumulates are left, the outputs "
        f"are {removed.difference:.1e} from those with the zeros"
    )
    if removed.left_out:
        said += f"; {len(removed.left_out)} groups do not fall silent with their weights and stay"
    return said


def print_training(report: TrainingReport, console: Console) -> None:
    """The result of `finetune` as a table."""
    table = Table(box=SIMPLE_HEAD)
    for column in ("beside the teacher", "before", "after"):
        table.add_column(column, justify="left" if column.startswith("beside") else "right")
    table.add_row("error of the answers", *(f"{error:.4f}" for error in report.logit_error))
    table.add_row(
        "error of the outputs", f"{report.before.rel_error:.4f}", f"{report.after.rel_error:.4f}"
    )
    for name, key in (("agreement", "top1_agreement"), ("top-1", "accuracy_after")):
        pair = [getattr(drift, key) for drift in (report.before, report.after)]
        if None not in pair:
            table.add_row(name, *(f"{100 * share:.2f} %" for share in pair))
    console.print(escape(foreign(report.model)), soft_wrap=True)
    console.print(table)
    trained, held = report.samples
    ended = f", {report.stopped}" if report.stopped else ""
    console.print(
        f"{report.steps} steps in {report.seconds:.0f} s on {trained} samples, compared on {held} "
        f"that were held out{ended}",
        soft_wrap=True,
    )
    if report.statistics_anew:
        console.print("statistics of normalisations were taken anew", soft_wrap=True)
    if report.removed is not None:
        console.print(removed_line(report.removed), soft_wrap=True)
    if not report.improved:
        console.print(f"the model is the one that came in: {report.why}", soft_wrap=True)
    if report.output:
        console.print(f"written: {escape(foreign(report.output))}", soft_wrap=True)
