"""The report of a run as plain data."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, is_dataclass
from typing import Any

from onnxslim_snacs.ir.types import InexactNode, PinReason
from onnxslim_snacs.ir.why import Link
from onnxslim_snacs.judge.drift import Drift
from onnxslim_snacs.judge.stopwatch import Latency
from onnxslim_snacs.plan.cost import Cost
from onnxslim_snacs.proof.prove import Proof
from onnxslim_snacs.recovery.accept import RecoveryReport


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
    """

    id: str
    label: str
    layer: str
    axes: tuple[str, ...]
    units: int
    kept: int
    params: int
    macs: int


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
        recovery: how the accuracy was recovered, if it was tried.
        made: what the written model is: "cut", as it was proved, or "re-fitted", which is the cut
            with other weights.
        latency: measured times, if there was a target for latency.
        criterion: name of the criterion.
        notes: what the criterion and the decision have to tell.
        warnings: what the user should know.
        timings: seconds by stage.
        provider: cpu or cuda.
        seed: for everything that was drawn.
        versions: of this package and those that it stands on.
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
    recovery: RecoveryReport | None = None
    made: str = "cut"
    latency: Latency | None = None
    notes: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    timings: Mapping[str, float] = field(default_factory=dict)
    provider: str = "cpu"
    seed: int = 0
    versions: Mapping[str, str] = field(default_factory=dict)


def to_json(value: Any) -> str:
    """A report, or any other dataclass, as JSON; infinities and NaN become null."""
    data = asdict(value) if is_dataclass(value) and not isinstance(value, type) else value
    return json.dumps(_plain(data), indent=1, default=str) + "\n"


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    return value


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
    """

    names: tuple[str, str]
    before: Cost
    after: Cost
    files: tuple[int, int]
    latency: Latency
    threads: int
    provider: str
