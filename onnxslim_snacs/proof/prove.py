"""The proof: a cut model computes what the masked original computes, see `oracle`.

Without recovery this is exact: equal up to the order of sums.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from onnx import ModelProto

from onnxslim_snacs.errors import InputRefused, RuntimeRefused, foreign
from onnxslim_snacs.ir.keep import KeepMap
from onnxslim_snacs.model.body import body_model, find_body
from onnxslim_snacs.model.session import SessionConfig
from onnxslim_snacs.model.values import each, shape_of
from onnxslim_snacs.ops.analyse import Analysis
from onnxslim_snacs.passes.prune import prune
from onnxslim_snacs.plan.work import Work
from onnxslim_snacs.proof.boundary import (
    Boundary,
    without,
)
from onnxslim_snacs.proof.by_node import compare_by_node
from onnxslim_snacs.proof.difference import Found, worst_difference
from onnxslim_snacs.proof.inexact import RANGE as RANGED
from onnxslim_snacs.proof.inexact import oracle_name
from onnxslim_snacs.proof.oracle import masked_original, whole_range_original
from onnxslim_snacs.proof.outcome import Proof, ProvedCut, require
from onnxslim_snacs.proof.runnable import Runnable, outputs_of, runnable
from onnxslim_snacs.proof.sides import Side
from onnxslim_snacs.proof.stored_parts import altered_weight
from onnxslim_snacs.proof.whole import compare_whole, in_single
from onnxslim_snacs.proof.widen import SINGLE, holds

#: From this operator set on operands are spread over each other without being told to.
_PLAIN = 7


def prove_cut(work: Work, keep: KeepMap) -> ProvedCut:
    """Cut a model, and prove that the result computes what was decided.

    Args:
        work: the model.
        keep: what stays.

    Raises:
        ProofFailed: it does not.
    """
    with work.clock.stage("prune"):
        model = prune(work.analysis, keep)
    with work.clock.stage("proof"):
        proof = prove(work.analysis, keep, model, threads=work.session.threads)
        require(proof)
    return ProvedCut(keep, model, proof)


def prove(
    analysis: Analysis,
    keep: KeepMap,
    pruned: ModelProto,
    *,
    feeds: Sequence[Mapping[str, NDArray[Any]]] = (),
    threads: int = 1,
    pruned_dir: Path | None = None,
) -> Proof:
    """Compare a cut model with the masked original, and its weights with the original's.

    Args:
        analysis: the original.
        keep: what the plan keeps.
        pruned: the cut model.
        feeds: input sets to run; seeded random ones if none are given.
        threads: threads for ONNX Runtime.
        pruned_dir: folder of the cut model's external data, if it is not the original's.

    Returns:
        The outcome; a failure is a value too.
    """
    proof = compare(analysis, keep, pruned, feeds=feeds, threads=threads, pruned_dir=pruned_dir)
    if not proof.passed:
        return proof
    wrong = altered_weight(analysis, keep, pruned, pruned_dir or analysis.graph.base_dir)
    return replace(proof, passed=False, failure=wrong) if wrong else proof


def compare(
    analysis: Analysis,
    keep: KeepMap,
    pruned: ModelProto,
    *,
    feeds: Sequence[Mapping[str, NDArray[Any]]] = (),
    threads: int = 1,
    pruned_dir: Path | None = None,
) -> Proof:
    """Compare what a cut model computes with what the masked original does.

    The bodies of control flow are compared once more on their own, for a run takes one branch only.

    Args:
        analysis: the original.
        keep: what the plan keeps.
        pruned: the cut model.
        feeds: input sets to run; seeded random ones if none are given.
        threads: threads for ONNX Runtime.
        pruned_dir: folder of the cut model's external data, if it is not the original's.

    Returns:
        The outcome; a failure is a value too.
    """
    config = SessionConfig(threads=threads, level=0)  # higher levels reorder sums
    proof = _prove_whole(analysis, keep, pruned, feeds, config, pruned_dir)
    for body in analysis.bodies:
        part, node = body.analysis, analysis.graph.nodes[body.position]
        if not (proof.passed and part.loses(keep)):
            continue
        cut = find_body(pruned.graph, node, body.attribute)
        if cut is None:
            return replace(proof, passed=False, failure=f"the {body.attribute} is not there")
        sets = part.facts.feeds
        inner = compare(
            part,
            keep,
            body_model(pruned, cut, sets[0]),
            feeds=sets,
            threads=threads,
            pruned_dir=pruned_dir,
        )
        proof = replace(
            proof,
            max_rel_diff=max(proof.max_rel_diff, inner.max_rel_diff),
            tolerance=max(proof.tolerance, inner.tolerance),
            noise=max(proof.noise, inner.noise),
            samples=proof.samples + inner.samples,
            passed=inner.passed,
            failure=inner.failure,
        )
    return proof


def _prove_whole(
    analysis: Analysis,
    keep: KeepMap,
    pruned: ModelProto,
    feeds: Sequence[Mapping[str, NDArray[Any]]],
    config: SessionConfig,
    pruned_dir: Path | None,
) -> Proof:
    settled = analysis.facts.settled
    failed = Proof(
        oracle_name(analysis, keep),
        float("inf"),
        0.0,
        0.0,
        0,
        False,
        unvaried=settled.names() if settled is not None else (),
    )
    try:
        part = runnable(analysis, keep, feeds, config)
        rest = without(analysis.graph.proto, part.boundary)
        masked = masked_original(analysis, keep, rest)
    except InputRefused as error:
        return replace(failed, failure=str(error), refused=True)
    cut = [{n: each(partial(keep.cut, n), v) for n, v in one.items()} for one in part.feeds]
    base_dir = analysis.graph.base_dir
    ours = Side(without(masked, part.boundary), part.feeds, base_dir, config)
    theirs = Side(without(pruned, part.boundary), cut, pruned_dir or base_dir, config)
    try:
        ours, theirs, floor = in_single(ours, theirs)
        found = compare_whole(analysis, keep, ours, theirs, part.boundary, floor)
        proof = _told(failed, part, found)
        if not proof.passed:
            nearest = compare_by_node(analysis, keep, ours, theirs, floor) or found
            proof = replace(_told(failed, part, nearest), end_to_end=found.difference)
        return _with_range(analysis, keep, part.boundary, ours, theirs, proof)
    except RuntimeRefused as error:
        return _refused(failed, error, analysis, rest, config, part.feeds)


def _told(failed: Proof, part: Runnable, found: Found) -> Proof:
    """A comparison as a proof."""
    passed = found.difference <= found.allowed
    where = f"values of {foreign(found.tensor)} differ" if found.tensor else "outputs differ"
    failure = (
        f"{where} by {found.difference:.3g}, allowed are {found.allowed:.3g} (the model's own "
        f"rounding noise there is {found.noise:.3g})"
    )
    return replace(
        failed,
        max_rel_diff=found.difference,
        tolerance=found.allowed,
        noise=found.noise,
        samples=len(part.feeds),
        passed=passed,
        failure="" if passed else failure,
        boundary=part.boundary.names,
        sizes=tuple({name: shape_of(v) or () for name, v in one.items()} for one in part.feeds),
    )


def _with_range(
    analysis: Analysis, keep: KeepMap, boundary: Boundary, ours: Side, theirs: Side, proof: Proof
) -> Proof:
    """The proof, with the difference that the range of what is left makes to a quantiser."""
    if proof.oracle != RANGED or not proof.passed:
        return proof
    outputs = [name for name in analysis.graph.outputs if name not in boundary.made]
    rest = without(analysis.graph.proto, boundary)
    exact = replace(ours, model=without(whole_range_original(analysis, keep, rest), boundary))
    exact = exact if holds(ours.model, SINGLE) else exact.wide(SINGLE)
    wanted, got, near = exact.run(outputs), theirs.run(outputs), ours.run(outputs)
    differences = (worst_difference(wanted[name], got[name]) for name in outputs)
    whole = max(differences, default=0.0)
    made = max((worst_difference(wanted[name], near[name]) for name in outputs), default=0.0)
    return replace(
        proof,
        max_rel_diff=max(proof.max_rel_diff, whole),
        tolerance=proof.tolerance + made,
        range_diff=made,
    )


def _refused(
    failed: Proof,
    reason: RuntimeRefused,
    analysis: Analysis,
    original: ModelProto,
    config: SessionConfig,
    sets: Sequence[Mapping[str, NDArray[Any]]],
) -> Proof:
    """What ONNX Runtime's refusal says: where it refuses the original as well, nothing of ours."""
    version = analysis.graph.opsets.get("", _PLAIN)
    if version < _PLAIN:
        return replace(
            failed,
            refused=True,
            failure=f"operator set {version} knows no broadcasting, which the comparison is made "
            "of: convert the model with onnx.version_converter.convert_version(model, 13)",
        )
    try:
        outputs_of(original, (), config, analysis.graph.base_dir, sets)
    except RuntimeRefused as error:
        return replace(failed, failure=str(error), refused=True)
    return replace(failed, failure=str(reason))
