"""The plan: plain data that a person can read, edit and replay."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
from onnx import ModelProto

from onnxslim_snacs.config import DataConfig
from onnxslim_snacs.config.checks import check_arithmetic, check_effort
from onnxslim_snacs.config.fields import check_fields
from onnxslim_snacs.errors import InputRefused, UsageError, foreign
from onnxslim_snacs.ir.build import DependencyGraph
from onnxslim_snacs.ir.types import BoolArray, is_virtual
from onnxslim_snacs.model.graph import ModelGraph
from onnxslim_snacs.model.mapped import tensor_array
from onnxslim_snacs.model.stored import all_nodes
from onnxslim_snacs.plan.bases import StreamBasis


@dataclass(frozen=True, slots=True)
class PlannedGroup:
    """What happens to one group.

    Attributes:
        id: the group's name.
        axes: the axes on which it lies, for the reader.
        units: how many units it had.
        kept: the units that stay, in ascending order.
    """

    id: str
    axes: tuple[str, ...]
    units: int
    kept: tuple[int, ...]

    def __post_init__(self) -> None:
        """Hold the values against their types, and the units that stay against their number."""
        check_fields(self)
        if self.units < 1:
            raise UsageError(f"PlannedGroup.units: got {self.units}, expected at least 1")
        places = self.kept
        ascending = all(a < b for a, b in pairwise(places))
        if not places or not ascending or places[0] < 0 or places[-1] >= self.units:
            raise UsageError(
                f"PlannedGroup.kept: got {foreign(places)} for group {foreign(self.id)}, expected "
                f"some of its {self.units} units, 0 ... {self.units - 1}, in ascending order"
            )


@dataclass(frozen=True, slots=True)
class DroppedBlock:
    """A block that goes as a whole.

    Attributes:
        output: the tensor in which it ends.
        instead: the tensor that is read in its place.
    """

    output: str
    instead: str

    def __post_init__(self) -> None:
        """Hold the values against their types."""
        check_fields(self)


@dataclass(frozen=True, slots=True)
class Refit:
    """How the cut model was re-fitted, and all that it takes to do so again but the data.

    Attributes:
        digest: of the model that recovery has made, by which it is known again.
        method: what was used, see `recovery.accept.RECOVERIES`; "" if the plan does not say.
        share: share of the samples that were set aside for judging.
        is_random: whether the samples were drawn and nobody's data.
        data: how the samples were read; its path is not kept.
        seed: for everything that was drawn.
        threads: threads of ONNX Runtime.
        provider: cpu or cuda.
        effort: a key of `config.spending.EFFORTS`.
        arithmetic: with what equations were solved, numpy or torch.
    """

    digest: str
    method: str = ""
    share: float = 0.25
    is_random: bool = False
    data: DataConfig = field(default_factory=DataConfig)
    seed: int = 0
    threads: int = 1
    provider: str = "cpu"
    effort: str = "normal"
    arithmetic: str = "numpy"

    def __post_init__(self) -> None:
        """Hold the values against their types.

        Raises:
            UsageError: there is no such effort, or no such arithmetic.
        """
        check_fields(self)
        check_effort(self.effort)
        check_arithmetic(self.arithmetic)


@dataclass(frozen=True, slots=True)
class TunedStep:
    """That the model was trained at the end: by it the result is known, and not made again.

    Attributes:
        digest: of the trained model.
        minutes: for how long it was to be trained.
        steps: batches that it took.
    """

    digest: str
    minutes: float = 0.0
    steps: int = 0

    def __post_init__(self) -> None:
        """Hold the values against their types."""
        check_fields(self)


@dataclass(frozen=True, slots=True)
class Plan:
    """Which units of a model stay, and whether what is left was re-fitted.

    Attributes:
        fingerprint: what of the model the plan depends on, see `fingerprint`.
        allow_inexact: whether the groups were found with `--allow-inexact`.
        groups: every group of the model.
        refit: how the cut model was re-fitted; None if it was not.  The cut does not depend on it.
        sizes: shapes of the inputs at which the model was analysed, if it has dynamic dimensions:
            where to begin when the plan is replayed.
        bases: the bases into which residual streams were turned before the cut, in that order; the
            groups are those of the turned model, the fingerprint is that of the original.
        tuned: that the model was trained after all that; None if it was not.
        dropped: blocks that go before channels do; the groups are those of what is left.
        simplified: the version of onnxslim that has gone over the model before anything else; all
            that the plan says is about what it has made of it.  "" if none has.
        source: digest of the model for which it was made, nodes and weights; "" if nobody knows.
            It may be replayed on other weights, of which whoever does so is told.
    """

    fingerprint: str
    allow_inexact: bool
    groups: tuple[PlannedGroup, ...]
    refit: Refit | None = None
    sizes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    bases: tuple[StreamBasis, ...] = ()
    dropped: tuple[DroppedBlock, ...] = ()
    tuned: TunedStep | None = None
    simplified: str = ""
    source: str = ""

    def __post_init__(self) -> None:
        """Hold the values against their types; no group stands twice."""
        check_fields(self)
        if len({group.id for group in self.groups}) != len(self.groups):
            raise UsageError("Plan.groups: a group is listed twice")
        if len({block.output for block in self.dropped}) != len(self.dropped):
            raise UsageError("Plan.dropped: a block is listed twice")

    def kept(self) -> dict[str, BoolArray]:
        """Group id -> (units,) whether each unit stays."""
        masks = {}
        for group in self.groups:
            mask = np.zeros(group.units, dtype=bool)
            mask[list(group.kept)] = True
            masks[group.id] = mask
        return masks


def make_plan(
    graph: ModelGraph, ir: DependencyGraph, kept: Mapping[str, BoolArray], *, allow_inexact: bool
) -> Plan:
    """Write decisions down as a plan; groups without a decision stay whole.

    Args:
        graph: the original, whose fingerprint the plan carries.
        ir: the groups.
        kept: group id -> (units,) whether each unit stays.
        allow_inexact: whether normalisations were let lose channels.
    """
    groups = []
    for group in ir.groups:
        stays = kept.get(group.id, np.ones(group.units, dtype=bool))
        axes = tuple(str(m.axis) for m in group.members if not is_virtual(m.axis))
        groups.append(
            PlannedGroup(group.id, axes, group.units, tuple(np.flatnonzero(stays).tolist()))
        )
    source = model_digest(graph.proto, graph.base_dir)
    return Plan(fingerprint(graph), allow_inexact, tuple(groups), source=source)


def fingerprint(graph: ModelGraph) -> str:
    """SHA-256 over the structure of a model and the shapes of its weights, not their values.

    A plan may be replayed on a model that was trained further, but on no other.
    """
    digest = hashlib.sha256()
    for node in all_nodes(graph.nodes):
        line = (node.domain, node.op_type, *node.input, ">", *node.output)
        digest.update("\0".join(line).encode("utf-8", "surrogatepass") + b"\n")
    for name in sorted(graph.initializers):
        digest.update(
            f"{name}\0{tuple(graph.initializers[name].dims)}\n".encode("utf-8", "surrogatepass")
        )
    return digest.hexdigest()


def check_fingerprint(plan: Plan, graph: ModelGraph) -> None:
    """Make sure that a plan belongs to a model as far as that can be told before its analysis.

    Raises:
        InputRefused: it was made for another one.
    """
    if plan.fingerprint != fingerprint(graph):
        raise InputRefused("the plan was made for another model (fingerprints differ)")


def has_other_source(plan: Plan, graph: ModelGraph) -> bool:
    """Whether a plan says that it was made for other weights, or attributes, than a model has."""
    return plan.source not in ("", model_digest(graph.proto, graph.base_dir))


def check_plan(plan: Plan, graph: ModelGraph, ir: DependencyGraph) -> None:
    """Make sure that a plan belongs to a model.

    Args:
        plan: the plan.
        graph: the model.
        ir: its groups; if the plan turns streams, those of the turned model.

    Raises:
        InputRefused: it was made for another one.
    """
    check_fingerprint(plan, graph)
    wanted = {g.id: g.units for g in ir.groups}
    for group in plan.groups:
        if wanted.get(group.id) != group.units:
            raise InputRefused(
                f"plan: group {foreign(group.id)} with {group.units} units; the model has "
                f"{wanted.get(group.id, 'no such group')}"
            )


def model_digest(model: ModelProto, base_dir: Path | None = None) -> str:
    """SHA-256 over the nodes and the weights of a model, wherever it stores them."""
    digest = hashlib.sha256()
    for node in model.graph.node:
        digest.update(node.SerializeToString(deterministic=True))
    for tensor in sorted(model.graph.initializer, key=lambda t: t.name):
        digest.update(
            f"{tensor.name}\0{tensor.data_type}\0{tuple(tensor.dims)}\n".encode(
                "utf-8", "surrogatepass"
            )
        )
        values = np.ascontiguousarray(tensor_array(tensor, base_dir))
        text = values.dtype.hasobject  # of which the array holds no more than where it lies
        digest.update(repr(values.tolist()).encode() if text else values.tobytes())
    return digest.hexdigest()
