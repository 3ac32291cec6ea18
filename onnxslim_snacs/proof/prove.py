"""The proof: a cut model computes what the masked original computes, see `oracle`.

Without recovery this is exact: equal up to the order of sums.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from onnxslim_snacs.errors import InputRefused, ProofFailed, RuntimeRefused, foreign
from onnxslim_snacs.ir.keep import KeepMap
from onnxslim_snacs.model.body import body_model, find_body
from onnxslim_snacs.model.session import SessionConfig, create_session
from onnxslim_snacs.model.sizes import Sizes, random_inputs
from onnxslim_snacs.ops.analyse import Analysis
from onnxslim_snacs.passes.prune import prune
from onnxslim_snacs.plan.work import Work
from onnxslim_snacs.proof.boundary import (
    Boundary,
    boundaries,
    boundary_feeds,
    make_boundary,
    recorded,
    without,
    without_kernel,
)
from onnxslim_snacs.proof.by_node import compare_by_node
from onnxslim_snacs.proof.difference import Found, worst_difference
from onnxslim_snacs.proof.inexact import RANGE as RANGED
from onnxslim_snacs.proof.inexact import oracle_name
from onnxslim_snacs.proof.oracle import masked_original, whole_range_original
from onnxslim_snacs.proof.proving_sizes import input_sizes, proving_sizes
from onnxslim_snacs.proof.sides import Side
from onnxslim_snacs.proof.stored_parts import altered_weight
from onnxslim_snacs.proof.whole import compare_whole, in_single
from onnxslim_snacs.proof.widen import SINGLE, holds

#: Seeds of the input sets that are drawn where none are given.
SEEDS = (1, 2)


#: From this operator set on operands are spread over each other without being told to.
_PLAIN = 7


@dataclass(frozen=True, slots=True)
class Proof:
    """Outcome of the comparison.

    Attributes:
        oracle: what was compared with what.
        max_rel_diff: largest max|difference| / max|output| over outputs, inner tensors and samples;
            where that was judged node by node, at the node that comes nearest to what is allowed.
        tolerance: what was allowed.
        noise: the same number for the original beside itself, when inputs and weights move by a
            unit in the last place: the model's own rounding noise, of which the tolerance is
            `noise.FACTOR` times as much; 0 where the difference needs no explanation, so that
            nobody has looked.
        samples: how many input sets were run.
        passed: whether the model is proved.
        failure: what went wrong, "" if nothing did.
        boundary: nodes that could not be run and were left out on both sides; no channel around
            them goes.
        refused: whether nothing could be compared at all, so that the failure is not ours.
        end_to_end: how far the outputs are apart where that is no measure, for the model makes more
            of its rounding than is allowed, and every node was judged by itself; None elsewhere.
        range_diff: what of the difference dynamic quantisers make, whose range is that of what is
            left; allowed on top.
        sizes: the shapes of the inputs that were run.
        unvaried: dynamic dimensions of inputs of which only one extent was found that runs; at
            others nothing was compared.
    """

    oracle: str
    max_rel_diff: float
    tolerance: float
    noise: float
    samples: int
    passed: bool
    failure: str = ""
    boundary: tuple[str, ...] = ()
    refused: bool = False
    end_to_end: float | None = None
    range_diff: float = 0.0
    sizes: tuple[Mapping[str, tuple[int, ...]], ...] = ()
    unvaried: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ProvedCut:
    """A cut model that computes what was decided.

    Attributes:
        keep: what was decided.
        model: the cut model.
        proof: the outcome of the proof.
    """

    keep: KeepMap
    model: ModelProto
    proof: Proof


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
    cut = [{n: keep.cut(n, v) for n, v in feeds.items()} for feeds in part.feeds]
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
        sizes=tuple({name: np.shape(values) for name, values in one.items()} for one in part.feeds),
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
        _outputs(original, (), config, analysis.graph.base_dir, sets)
    except RuntimeRefused as error:
        return replace(failed, failure=str(error), refused=True)
    return replace(failed, failure=str(reason))


@dataclass(frozen=True, slots=True)
class Runnable:
    """The part of a model that can be run, and what to run it on.

    Attributes:
        boundary: what is taken out.
        feeds: input sets.
    """

    boundary: Boundary
    feeds: Sequence[Mapping[str, NDArray[Any]]]


def runnable(
    analysis: Analysis,
    keep: KeepMap,
    feeds: Sequence[Mapping[str, NDArray[Any]]],
    config: SessionConfig,
) -> Runnable:
    """Find the part of the original that ONNX Runtime can run.

    Raises:
        InputRefused: there is none, or too little is known of what would have to be fed.
    """
    reason, sizes = "", input_sizes(analysis)
    pending = boundaries(analysis)
    for nodes in pending:
        boundary = make_boundary(analysis, keep, nodes, sizes)
        sets = _feeds(analysis, boundary, feeds, sizes, config)
        try:
            if not analysis.facts.ran:
                rest = without(analysis.graph.proto, boundary)
                _outputs(rest, boundary.reads, config, analysis.graph.base_dir, sets[:1])
        except RuntimeRefused as error:  # another operator that it does not know, perhaps
            reason = str(error)
            more = nodes | without_kernel(analysis, reason)
            if more not in pending:
                pending.append(more)
            continue
        return Runnable(boundary, sets)
    raise InputRefused(f"the model cannot be run, so that nothing can be proved: {reason}")


def _feeds(
    analysis: Analysis,
    boundary: Boundary,
    given: Sequence[Mapping[str, NDArray[Any]]],
    sizes: Sizes,
    config: SessionConfig,
) -> Sequence[Mapping[str, NDArray[Any]]]:
    """Input sets, with what the boundary writes."""
    if given and not boundary.writes:
        return given
    if not analysis.facts.ran:
        return boundary_feeds(analysis, boundary, sizes, SEEDS)
    sets = given or [
        random_inputs(analysis.graph, one, seed)
        for seed, one in enumerate(proving_sizes(analysis, config), start=1)
    ]
    if not boundary.writes:
        return sets
    written = list(boundary.writes)
    model = ModelProto()
    model.CopyFrom(analysis.graph.proto)
    del model.graph.output[:]
    return recorded(sets, boundary, _outputs(model, written, config, analysis.graph.base_dir, sets))


def require(proof: Proof) -> None:
    """Raise if the proof has failed.

    Raises:
        InputRefused: nothing could be compared.
        ProofFailed: with what went wrong.
    """
    if proof.refused:
        raise InputRefused(f"the cut cannot be proved: {proof.failure}; nothing was written")
    if not proof.passed:
        raise ProofFailed(
            f"the cut model is not equal to the masked original: {proof.failure}; nothing was "
            "written; please report this"
        )


def _outputs(
    model: ModelProto,
    seen: Sequence[str],
    config: SessionConfig,
    base_dir: Path | None,
    sets: Sequence[Mapping[str, NDArray[Any]]],
) -> list[list[NDArray[Any]]]:
    session = create_session(model, config, base_dir, seen)
    return [[np.asarray(o) for o in session.run(None, dict(feeds))] for feeds in sets]
