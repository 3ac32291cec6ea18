"""The proof on its own, for two files and a plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from onnx import ModelProto

from onnxslim_snacs.blocks.left import found_again, left_without
from onnxslim_snacs.commands.naming import names_file
from onnxslim_snacs.commands.signature import other_plan
from onnxslim_snacs.commands.simplified import simplified_as_planned
from onnxslim_snacs.commands.turned import turn_again
from onnxslim_snacs.config.fields import checked
from onnxslim_snacs.errors import InputRefused, ProofFailed, foreign
from onnxslim_snacs.ir.keep import KeepMap, keep_map
from onnxslim_snacs.layers.aims import Aims
from onnxslim_snacs.model.graph import ModelGraph
from onnxslim_snacs.model.interface import interface_difference
from onnxslim_snacs.model.opened import AnyModel, open_model
from onnxslim_snacs.ops.analyse import Analysis, analyse
from onnxslim_snacs.passes.prune import prune
from onnxslim_snacs.plan.plan import (
    Plan,
    check_fingerprint,
    check_plan,
    has_other_source,
    model_digest,
)
from onnxslim_snacs.plan.written import load_plan
from onnxslim_snacs.proof.dropped import DropProof, prove_drop
from onnxslim_snacs.proof.outcome import Proof
from onnxslim_snacs.proof.prove import compare, prove
from onnxslim_snacs.recovery.touched import touched
from onnxslim_snacs.report.make import CUT, RAW, REFITTED, TRAINED
from onnxslim_snacs.report.phrases import proof_words

#: What a file is that other tools have changed behind the cut, and still computes the same.
REWRITTEN = "rewritten cut"
_OTHER = "; by its own note another plan has made the file"
_SOURCE = "; the plan was made for the original with other weights or attributes"


@dataclass(frozen=True, slots=True)
class Verified:
    """What was found out about a file.

    Attributes:
        made: what the file is: the "cut" itself; "re-fitted" or "trained", the cut with other
            weights; or a "rewritten cut", which computes the same by other nodes.
        proof: of the file, or of the cut from which it was re-fitted.
        refitted: the weights of a re-fitted model that are not those of the cut: they are known by
            the plan's digest, and what they make of the model is not proved.
        planned: whether the file is what the plan leads to; of a plan with recovery, the raw cut is
            not.
        other_plan: whether the file notes that another plan has made it.
        other_source: whether the plan was made for an original with other weights.
        turned: max|difference| / max|output| that turning the residual streams has made, before the
            cut; None where the plan turns none.
        dropped: the proof of the blocks that went before; None if none did.
    """

    made: str
    proof: Proof
    refitted: tuple[str, ...] = ()
    planned: bool = True
    other_plan: bool = False
    other_source: bool = False
    turned: float | None = None
    dropped: DropProof | None = None

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong with the file."""
        return self.proof.passed and (self.dropped is None or self.dropped.passed)


@checked
@names_file
def verify_files(
    before: AnyModel,
    after: AnyModel,
    plan: Plan | Path | str,
    *,
    input_shapes: Mapping[str, tuple[int, ...]] | None = None,
    threads: int = 1,
) -> Verified:
    """The proof on its own, for two models and the plan that leads from one to the other.

    A model that was re-fitted after the cut computes something else than the cut model.  Of such a
    file the cut is proved, its nodes and every weight that recovery does not touch are compared
    with those of the cut, and the rest is held against the digest in the plan.

    Args:
        before: the original: a file, or a model in memory, as for `compress`.
        after: the cut model, likewise.
        plan: what was cut, or the file that holds it.
        input_shapes: sizes of inputs that cannot be guessed.
        threads: threads of ONNX Runtime.

    Raises:
        InputRefused: a file is no model, or the plan belongs to another one.
        ProofFailed: the inputs and outputs of the two differ.
    """
    opened = open_model(before, "verify: before"), open_model(after, "verify: after")
    graph, other = (one.graph for one in opened)
    plan = plan if isinstance(plan, Plan) else load_plan(Path(plan))
    led = _replayed(graph, plan, input_shapes or plan.sizes, threads)
    different = interface_difference(graph.proto, other.proto)
    if different:
        raise ProofFailed(
            f"{foreign(opened[1].name)} cannot take the place of the original: {different}"
        )
    steps = {REFITTED: plan.refit, TRAINED: plan.tuned}
    digests = {step.digest: made for made, step in steps.items() if step is not None}
    known = digests.get(model_digest(other.proto, other.base_dir)) if digests else None
    if known is not None:
        found = _other_weights(led, plan, other, known, threads)
    else:
        found = _as_it_is(led, other, threads, recovered=any(digests))
    found = replace(found, turned=led.turned, dropped=led.dropped, other_source=led.other_source)
    if led.other_source and not found.proof.passed:
        found = replace(found, proof=replace(found.proof, failure=found.proof.failure + _SOURCE))
    if not other_plan(other.proto, plan):
        return found
    proof = found.proof
    if known is None and not proof.passed:
        proof = replace(proof, failure=proof.failure + _OTHER)
    return replace(found, proof=proof, other_plan=True)


@dataclass(frozen=True, slots=True)
class _Led:
    """Where a plan leads, before recovery.

    Attributes:
        analysis: the original, turned and without its blocks as the plan says.
        keep: what stays of it.
        cut: the cut.
        aims: what recovery aims at, where that is not the model itself.
        turned: how far turning the streams has moved the outputs; None if none are.
        dropped: the proof of the blocks that went; None if none did.
        other_source: whether the plan was made for an original with other weights.
    """

    analysis: Analysis
    keep: KeepMap
    cut: ModelProto
    aims: Aims | None
    turned: float | None
    dropped: DropProof | None
    other_source: bool


def _replayed(
    graph: ModelGraph, plan: Plan, shapes: Mapping[str, tuple[int, ...]], threads: int
) -> _Led:
    """Do what a plan says.

    Raises:
        InputRefused: it belongs to another model.
    """
    simpler = simplified_as_planned(graph, plan)
    graph = graph if simpler is None else simpler.graph
    check_fingerprint(plan, graph)
    turned = turn_again(graph, plan.bases, shapes) if plan.bases else None
    present = graph if turned is None else turned.graph
    analysis = analyse(present, allow_inexact=plan.allow_inexact, input_shapes=shapes)
    dropped, aims = None, None
    if plan.dropped:
        gone = found_again(present, analysis, plan.dropped)
        left = left_without(present, analysis, gone, allow_inexact=plan.allow_inexact)
        dropped = prove_drop(present, analysis, gone, left.graph, threads)
        analysis, aims = left.analysis, left.aims
    check_plan(plan, graph, analysis.ir)
    keep = keep_map(analysis.ir, plan.kept())
    moved = None if turned is None else turned.difference
    other = has_other_source(plan, graph)
    return _Led(analysis, keep, prune(analysis, keep), aims, moved, dropped, other)


def _other_weights(led: _Led, plan: Plan, other: ModelGraph, made: str, threads: int) -> Verified:
    """The plan's own model after recovery: its cut is proved, and what was left alone compared."""
    proof = prove(led.analysis, led.keep, led.cut, threads=threads)
    free = made == TRAINED or (plan.refit is not None and plan.refit.method == "distil")
    found = touched(
        led.analysis, led.keep, led.cut, other.proto, other.base_dir, led.aims, trained=free
    )
    if proof.passed and found.wrong:
        proof = replace(proof, passed=False, failure=f"no re-fitted cut: {found.wrong}")
    return Verified(made, proof, found.weights)


def _as_it_is(led: _Led, other: ModelGraph, threads: int, *, recovered: bool) -> Verified:
    """A file that is to be the cut; where the plan goes on with recovery, that is not its end."""
    same = _nodes(other.proto) == _nodes(led.cut)
    check = prove if same else compare
    proof = check(led.analysis, led.keep, other.proto, threads=threads, pruned_dir=other.base_dir)
    shaped = "" if proof.passed else _other_shape(led.cut, other.proto)
    if shaped:
        proof = replace(proof, failure=f"{shaped}: {proof.failure}")
    if recovered and not proof.passed:
        hint = f"{proof.failure}; nor is it the model that the plan has re-fitted"
        proof = replace(proof, failure=hint)
    return Verified(CUT if same else REWRITTEN, proof, planned=not recovered)


def _other_shape(cut: ModelProto, other: ModelProto) -> str:
    """The first weight that has another shape than in the cut, in words; "" if there is none."""
    shapes = {t.name: tuple(t.dims) for t in other.graph.initializer}
    return next(
        (
            f"weight {foreign(t.name)} has the shape {shapes[t.name]}, where the plan leads to "
            f"{tuple(t.dims)}"
            for t in cut.graph.initializer
            if shapes.get(t.name, tuple(t.dims)) != tuple(t.dims)
        ),
        "",
    )


def _nodes(model: ModelProto) -> list[bytes]:
    return [node.SerializeToString(deterministic=True) for node in model.graph.node]


def require_verified(found: Verified, after: Path) -> None:
    """Raise if something is wrong with a file.

    Raises:
        InputRefused: nothing could be compared.
        ProofFailed: with what is wrong.
    """
    reason = found.proof.failure
    if found.dropped is not None and not found.dropped.passed:
        raise ProofFailed(f"{foreign(after)}: the dropped blocks: {found.dropped.failure}")
    if found.proof.refused:
        raise InputRefused(f"{foreign(after)} cannot be proved: {reason}")
    if not found.passed:
        raise ProofFailed(f"{foreign(after)} is not what the plan says: {reason}")


def verified_words(found: Verified) -> str:
    """What was found out about a file, in words."""
    proof = found.proof
    numbers = proof_words(proof)
    if found.dropped is not None:
        numbers = (
            f"{found.dropped.blocks} blocks dropped (zeros in their place: max relative difference "
            f"{found.dropped.max_rel_diff:.2g}), then the cut: {numbers}"
        )
    if found.turned is not None:
        numbers += f"; turning the streams before that changed the outputs by {found.turned:.2g}"
    if found.made in (REFITTED, TRAINED):
        return (
            f"{found.made}: the file is the cut in its nodes, its shapes and all weights but "
            f"{len(found.refitted)}, which are known by the plan's digest alone; the cut itself "
            f"passed its proof ({proof.oracle}): {numbers}{_OTHER * found.other_plan}"
            f"{_SOURCE * found.other_source}"
        )
    words = f"proved ({proof.oracle}): {numbers}"
    if found.made == REWRITTEN:
        words += "; its nodes are not those of the cut, so that only what it computes was compared"
    if not found.planned:
        words += f"; {RAW}"
    return words + _OTHER * found.other_plan + _SOURCE * found.other_source


def verified_json(found: Verified) -> dict[str, Any]:
    """The same as plain data: the proof, and what the file is."""
    more = {
        "made": found.made,
        "proved": found.passed and found.made not in (REFITTED, TRAINED),
        "refitted": found.refitted,
        "planned": found.planned,
        "other_plan": found.other_plan,
        "other_source": found.other_source,
        "turned": found.turned,
        "dropped": None if found.dropped is None else asdict(found.dropped),
    }
    return {**asdict(found.proof), **more}
