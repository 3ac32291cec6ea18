"""The report of a run as plain data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from onnxslim_snacs.config import CompressConfig, ReleasedConfig
from onnxslim_snacs.config.plain import from_plain, plain
from onnxslim_snacs.errors import InputRefused, UsageError, foreign
from onnxslim_snacs.ir.types import InexactNode, PinReason
from onnxslim_snacs.ir.why import Link
from onnxslim_snacs.judge.drift import Drift
from onnxslim_snacs.judge.stopwatch import Latency
from onnxslim_snacs.plan.cost import Cost
from onnxslim_snacs.proof.dropped import DropProof
from onnxslim_snacs.proof.outcome import Proof
from onnxslim_snacs.recovery.accept import RecoveryReport
from onnxslim_snacs.report.knots import LayerReport, NodeReport, PinChain

#: Version of the report as JSON: what is new makes no new one, what goes or means something else
#: does.
FORMAT = 1


@dataclass(frozen=True, slots=True)
class GroupReport:
    """One group.

    Attributes:
        id: its name.
        label: the axis that a person would name it by.
        layer: the first node that makes its channels, "" if none does.
        axes: every axis on which it lies.
        units: how many units it had.
        kept: how many stay.
        params: weights that would go with all its units.
        macs: multiply-accumulates that would go with all its units.
        pinned: entries of the axis `label` that lie in no unit.
        curve: (units removed, relative squared error of the output) when it alone is cut, where
            that was measured.
        nodes: positions in `Report.nodes` of the nodes on which it lies.
        makers: those of them that make its channels.
        readers: those of them that sum over its channels.
    """

    id: str
    label: str
    layer: str
    axes: tuple[str, ...]
    units: int
    kept: int
    params: int
    macs: int
    pinned: int = 0
    curve: tuple[tuple[int, float], ...] = ()
    nodes: tuple[int, ...] = ()
    makers: tuple[int, ...] = ()
    readers: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class TunedReport:
    """What training at the end did.

    Attributes:
        minutes: for how long it was to go on.
        steps: batches.
        seconds: that they took.
        improved: whether the trained model is the result.
        why: if it is not: why.
        stopped: why it ended before its time, "" if it did not.
        before: distance from the original in front of it, on held-out samples.
    """

    minutes: float
    steps: int
    seconds: float
    improved: bool
    why: str
    stopped: str
    before: Drift


@dataclass(frozen=True, slots=True)
class DroppedReport:
    """What was done to whole blocks.

    Attributes:
        found: how many the model had.
        order: by what their order was settled; "plan" where a plan says which go.
        blocks: those that went: the tensor in which each ended, and what is read in its place.
        tried: (blocks, error of the outputs with channels cut as well) of what was compared.
        proof: that what is left is the original with zeros for what went; None if nothing went.
    """

    found: int
    order: str
    blocks: tuple[tuple[str, str], ...]
    tried: tuple[tuple[int, float], ...] = ()
    proof: DropProof | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """What a run did, and what it may not do and why.

    Attributes:
        model: path of the input.
        output: path of the output, None if none was written.
        before: cost of the original.
        after: cost of the result.
        groups: every group.
        pins: why the rest cannot be pruned.
        inexact: nodes that compute something else for what is left (`--allow-inexact`).
        proof: outcome of the proof.
        drift: distance from the original on samples that the decision has not seen.
        dropped: whole blocks that went, if that was asked for; groups and pins are those of what
            is left, `proof` is about their cut.
        recovery: how the accuracy was recovered, if it was tried.
        tuned: what training at the end did, if that was asked for.
        made: what the written model is: "cut", as it was proved; "re-fitted" or "trained", which is
            the cut with other weights.
        latency: measured times, if there was a target for latency.
        criterion: name of the criterion.
        notes: what the criterion and the decision have to tell.
        warnings: what the user should know.
        timings: seconds by stage.
        provider: cpu or cuda.
        arithmetic: with what linear algebra was done: numpy, torch on cpu, torch on cuda.
        seed: for everything that was drawn.
        versions: of this package and those that it stands on.
        format: version of this schema.
        threads: threads of ONNX Runtime.
        config: what `compress` was asked for; None for another command.
        released: what `released` was asked for, likewise.
        command: the command line that repeats the run, one argument each.
        layers: the layers that sum over channels, in the order of the graph.
        nodes: the nodes on which units lie.
        chains: how pins reach the layers that they hold.
    """

    model: str
    output: str | None
    before: Cost
    after: Cost
    groups: tuple[GroupReport, ...]
    pins: tuple[PinReason, ...]
    proof: Proof | None
    drift: Drift | None
    criterion: str
    inexact: tuple[InexactNode, ...] = ()
    dropped: DroppedReport | None = None
    recovery: RecoveryReport | None = None
    tuned: TunedReport | None = None
    made: str = "cut"
    latency: Latency | None = None
    notes: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    timings: Mapping[str, float] = field(default_factory=dict)
    provider: str = "cpu"
    arithmetic: str = "numpy"
    seed: int = 0
    versions: Mapping[str, str] = field(default_factory=dict)
    format: int = FORMAT
    threads: int = 1
    config: CompressConfig | None = None
    released: ReleasedConfig | None = None
    command: tuple[str, ...] = ()
    layers: tuple[LayerReport, ...] = ()
    nodes: tuple[NodeReport, ...] = ()
    chains: tuple[PinChain, ...] = ()


def to_json(value: Any) -> str:
    """A report, or any other dataclass, as JSON; infinities and NaN become null."""
    return json.dumps(plain(value), indent=1) + "\n"


def report_from_json(text: str, source: str = "report") -> Report:
    """Read a report back.

    Raises:
        InputRefused: the text is no report, or one of another format.
    """
    try:
        data = json.loads(text)
        given = data.get("format", FORMAT) if isinstance(data, Mapping) else None
        if given != FORMAT:
            raise InputRefused(
                f"{foreign(source)}: report format {foreign(given)}, expected {FORMAT}"
            )
        return from_plain(Report, data, "report")
    except (UsageError, ValueError, RecursionError) as error:
        raise InputRefused(
            f"{foreign(source)}: not a report of snacs-onnx ({foreign(error)})"
        ) from error


@dataclass(frozen=True, slots=True)
class Inspection:
    """What `inspect` finds.

    Attributes:
        model: path of the model.
        cost: what it costs.
        groups: what can be pruned.
        pins: why the rest cannot.
        why: for each axis of the tensor that was asked for, the chain of ties that leads to a pin.
        note: why the model could not be run, "" if it could.
    """

    model: str
    cost: Cost
    groups: tuple[GroupReport, ...]
    pins: tuple[PinReason, ...]
    why: tuple[tuple[Link, ...], ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two models side by side.

    Attributes:
        names: their paths.
        before: cost of the first.
        after: cost of the second.
        files: bytes of the two files.
        latency: their times, measured in alternation.
        threads: threads of ONNX Runtime.
        provider: where they ran.
        drift: how far the second has moved from the first on samples that were given.
    """

    names: tuple[str, str]
    before: Cost
    after: Cost
    files: tuple[int, int]
    latency: Latency
    threads: int
    provider: str
    drift: Drift | None = None
