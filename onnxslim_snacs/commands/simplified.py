"""Simplify a model by onnxslim before anything else, and prove that it computes the same.

Folding and fusing is what that library is kept for; here it is only called, and its result is held
against the original.  The plan is then one of the simplified model, and whoever replays it
simplifies first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import metadata
from typing import Any

from onnx import ModelProto

from onnxslim_snacs.activations.run import execute, open_session
from onnxslim_snacs.activations.users import answered_for
from onnxslim_snacs.errors import InputRefused, ProofFailed, UsageError, foreign
from onnxslim_snacs.ir.keep import KeepMap
from onnxslim_snacs.model.external import is_external
from onnxslim_snacs.model.graph import ModelGraph
from onnxslim_snacs.model.interface import interface_difference
from onnxslim_snacs.model.opened import open_model
from onnxslim_snacs.model.session import SessionConfig
from onnxslim_snacs.model.stored import stored_tensors
from onnxslim_snacs.ops.analyse import Analysis, analyse
from onnxslim_snacs.plan.cost import Cost, cost_model
from onnxslim_snacs.plan.plan import Plan, fingerprint
from onnxslim_snacs.proof.difference import relative_difference
from onnxslim_snacs.proof.noise import FACTOR, nudged
from onnxslim_snacs.report.report import Report

#: Largest max|difference| / max|output| in any case: folding rounds each weight once.
LEAST = 1e-5
_NEEDS = "--simplify needs onnxslim: pip install 'onnxslim-snacs[simplify]'"


@dataclass(frozen=True, slots=True)
class Simplified:
    """A model that onnxslim has gone over.

    Attributes:
        graph: the model.
        before: cost of the original.
        nodes: of the original and of this one.
        difference: max|difference| / max|output| from the original.
        allowed: what that may be: so many times the model's own rounding noise.
        version: of onnxslim.
    """

    graph: ModelGraph
    before: Cost
    nodes: tuple[int, int]
    difference: float
    allowed: float
    version: str


def version_of_tool() -> str:
    """The version of onnxslim.

    Raises:
        UsageError: it is not installed.
    """
    try:
        return metadata.version("onnxslim")
    except metadata.PackageNotFoundError:
        raise UsageError(_NEEDS) from None


def simplify(
    graph: ModelGraph, input_shapes: Mapping[str, tuple[int, ...]] | None = None
) -> Simplified:
    """Let onnxslim fold and fuse what it can.

    Args:
        graph: the model; not changed.
        input_shapes: sizes of inputs that cannot be guessed.

    Raises:
        UsageError: onnxslim is not installed.
        InputRefused: it fails on the model, or changes its inputs or outputs.
        ProofFailed: its result computes something else.
    """
    version = version_of_tool()
    if any(is_external(tensor) for _, tensor in stored_tensors(graph.proto)):
        raise InputRefused("--simplify: the model's weights lie in another file; simplify it first")
    before = analyse(graph, input_shapes=input_shapes)
    with answered_for("onnxslim"):
        made = open_model(_slimmed(graph.proto), "simplified").graph
    different = interface_difference(graph.proto, made.proto)
    if different:
        raise InputRefused(f"--simplify: onnxslim changes the model: {different}")
    worst, noise = _distance(before, made)
    allowed = max(LEAST, FACTOR * noise)
    if not worst <= allowed:
        raise ProofFailed(
            f"--simplify: what onnxslim {version} makes of the model differs from it by "
            f"{worst:.2g}, allowed {allowed:.2g}: leave --simplify out"
        )
    nodes = len(graph.proto.graph.node), len(made.proto.graph.node)
    cost = cost_model(before).cost(KeepMap({}))
    return Simplified(made, cost, nodes, worst, allowed, version)


def simplified_as_planned(graph: ModelGraph, plan: Plan) -> Simplified | None:
    """The simplified model that a plan is about; None if it is about the model as it is.

    Raises:
        InputRefused: another version makes another model of it, or the plan is about another model.
    """
    if not plan.simplified:
        return None
    try:
        found = simplify(graph, plan.sizes)
    except InputRefused as error:
        raise InputRefused(f"the plan was made for another model ({error})") from error
    if fingerprint(found.graph) != plan.fingerprint and found.version != plan.simplified:
        raise InputRefused(
            f"the plan is about what onnxslim {foreign(plan.simplified)} makes of the model, and "
            f"onnxslim {found.version} makes another one of it"
        )
    return found


def with_simplified(report: Report, found: Simplified | None) -> Report:
    """The report with what simplifying did, beside the cost of the model as it was given."""
    if found is None:
        return report
    note = {
        "onnxslim": found.version,
        "nodes": list(found.nodes),
        "difference": found.difference,
        "allowed": found.allowed,
    }
    return replace(report, before=found.before, notes={**report.notes, "simplified": note})


def _slimmed(proto: ModelProto) -> ModelProto:
    import onnxslim

    copy = ModelProto()
    copy.CopyFrom(proto)
    made: Any = onnxslim.slim(copy)
    if not isinstance(made, ModelProto):
        raise InputRefused("--simplify: onnxslim gives no model")
    return made


def _distance(before: Analysis, made: ModelGraph) -> tuple[float, float]:
    """How far the outputs are apart, and how far they are when weights move by a last place."""
    config, original = SessionConfig(level=0), before.graph
    if not before.facts.feeds:
        raise InputRefused(f"--simplify: the model cannot be run: {before.facts.note}")
    shaken = nudged(original.proto, 1, original.base_dir)
    sessions = [
        open_session(model, config, folder)
        for model, folder in (
            (original.proto, original.base_dir),
            (made.proto, made.base_dir),
            (shaken, original.base_dir),
        )
    ]
    worst = noise = 0.0
    for feeds in before.facts.feeds:
        wanted, got, moved = (execute(s, original.outputs, feeds) for s in sessions)
        worst = max(worst, *(relative_difference(a, b) for a, b in zip(wanted, got, strict=True)))
        noise = max(noise, *(relative_difference(a, b) for a, b in zip(wanted, moved, strict=True)))
    return worst, noise
