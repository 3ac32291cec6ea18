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

from onnxslim_snacs.errors import InputRefused, ProofFailed, foreign
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
from onnxslim_snacs.proof.difference import worst_difference
from onnxslim_snacs.proof.inexact import oracle_name
from onnxslim_snacs.proof.oracle import masked_original
from onnxslim_snacs.proof.proving_sizes import input_sizes, proving_sizes

#: Largest max|difference| / max|output| that counts as equal in float32 (15 times
#: the largest deviation measured over 200 random graphs).
TOLERANCE = 1e-5
#: How many inner tensors are compared beside the outputs: a saturated Softmax hides everything.
WITNESSES = 16
#: Extent of the values of a Sigmoid.
RANGE = 1.0
#: Seeds of the input sets that are drawn where none are given.
SEEDS = (1, 2)
#: The same for half precision, whose unit in the last place is 8192 times larger.
TOLERANCE_HALF = 2e-2


@dataclass(frozen=True, slots=True)
class Proof:
    """Outcome of the comparison.

    Attributes:
        oracle: what was compared with what.
        max_rel_diff: largest max|difference| / max|output| over outputs and samples.
        tolerance: what was allowed.
        samples: how many input sets were run.
        passed: whether the model is proved.
        failure: what went wrong, "" if nothing did.
        boundary: nodes that could not be run and were left out on both sides; no channel around
            them goes.
        refused: whether nothing could be compared at all, so that the failure is not ours.
        sizes: the shapes of the inputs that were run.
        unvaried: dynamic dimensions of inputs of which only one extent was found that runs; at
            others nothing was compared.
    """

    oracle: str
    max_rel_diff: float
    tolerance: float
    samples: int
    passed: bool
    failure: str = ""
    boundary: tuple[str, ...] = ()
    refused: bool = False
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
    level: int = 0,
    pruned_dir: Path | None = None,
) -> Proof:
    """Compare a cut model with the masked original.

    The bodies of control flow are compared once more on their own, for a run takes one branch only.

    Args:
        analysis: the original.
        keep: what the plan keeps.
        pruned: the cut model.
        feeds: input sets to run; seeded random ones if none are given.
        threads: threads for ONNX Runtime.
        level: its graph optimisation; 0 for proofs, for higher levels reorder sums.
        pruned_dir: folder of the cut model's external data, if it is not the original's.

    Returns:
        The outcome; a failure is a value too.
    """
    config = SessionConfig(threads=threads, level=level)
    proof = _prove_whole(analysis, keep, pruned, feeds, config, pruned_dir)
    for body in analysis.bodies:
        part, node = body.analysis, analysis.graph.nodes[body.position]
        if not (proof.passed and part.loses(keep)):
            continue
        cut = find_body(pruned, node, body.attribute)
        if cut is None:
            return replace(proof, passed=False, failure=f"the {body.attribute} is not there")
        sets = part.facts.feeds
        inner = prove(
            part,
            keep,
            body_model(pruned, cut, sets[0]),
            feeds=sets,
            threads=threads,
            level=level,
            pruned_dir=pruned_dir,
        )
        proof = replace(
            proof,
            max_rel_diff=max(proof.max_rel_diff, inner.max_rel_diff),
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
    tolerance = TOLERANCE_HALF if analysis.is_half else TOLERANCE
    failed = Proof(oracle_name(analysis, keep), float("inf"), tolerance, 0, False)
    try:
        part = runnable(analysis, keep, feeds, config)
        rest = without(analysis.graph.proto, part.boundary)
        masked = masked_original(analysis, keep, rest)
    except InputRefused as error:
        return replace(failed, failure=str(error), refused=True)
    squashed = {
        name: read
        for name, read in sigmoids(analysis, keep, pruned).items()
        if read not in part.boundary.made
    }
    told = (*part.boundary.reads, *witnesses(analysis, keep, pruned), *squashed.values())
    seen = [name for name in dict.fromkeys(told) if name not in analysis.graph.outputs]
    base_dir = analysis.graph.base_dir
    try:
        cut = [{n: keep.cut(n, v) for n, v in feeds.items()} for feeds in part.feeds]
        wanted, got = (
            _outputs(without(model, part.boundary), seen, config, folder, sets)
            for model, folder, sets in (
                (masked, base_dir, part.feeds),
                (pruned, pruned_dir or base_dir, cut),
            )
        )
    except Exception as error:  # whatever ONNX Runtime throws, the model is not proved
        return replace(failed, failure=foreign(error))
    names = [name for name in analysis.graph.outputs if name not in part.boundary.made] + seen
    worst = max(
        (
            worst_difference(
                [keep.cut(name, a) for a in ours], theirs, RANGE if name in squashed else 0.0
            )
            for name, ours, theirs in zip(
                names, zip(*wanted, strict=True), zip(*got, strict=True), strict=True
            )
        ),
        default=0.0,
    )
    passed = worst <= tolerance
    failure = "" if passed else f"outputs differ by {worst:.3g}, allowed are {tolerance:.3g}"
    settled = analysis.facts.settled
    return Proof(
        failed.oracle,
        worst,
        tolerance,
        len(part.feeds),
        passed,
        failure,
        part.boundary.names,
        sizes=tuple({name: np.shape(values) for name, values in one.items()} for one in part.feeds),
        unvaried=settled.names() if settled is not None else (),
    )


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
        except Exception as error:  # another operator that ONNX Runtime does not know, perhaps
            reason = foreign(error)
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


def witnesses(analysis: Analysis, keep: KeepMap, pruned: ModelProto) -> list[str]:
    """The last outputs of layers, of which the kept slots are compared beside the outputs.

    Only what a layer sums up itself: a saturated Softmax hides every difference, a Sigmoid far
    below zero shows nothing but its own rounding, and a classifier of zeros shows nothing at all.
    """
    known = {name for node in pruned.graph.node for name in node.output if name}
    layers = dict.fromkeys(position for position, _ in analysis.ir.sinks)
    found = [
        name
        for position in sorted(layers, reverse=True)
        for name in analysis.nodes[position].outputs
        if name in known and name not in analysis.graph.outputs and not _periodic(keep, name)
    ]
    return found[:WITNESSES]


def sigmoids(analysis: Analysis, keep: KeepMap, pruned: ModelProto) -> dict[str, str]:
    """Outputs that a Sigmoid makes, and what it reads, which is compared beside them.

    Far below zero such an output shows nothing but the rounding of the Sigmoid: what it reads tells
    more, and the output itself is held against the range of the function.
    """
    graph = analysis.graph
    known = {name for node in pruned.graph.node for name in node.output if name}
    made = ((name, graph.producer.get(name)) for name in graph.outputs)
    nodes = {name: graph.nodes[position] for name, position in made if position is not None}
    return {
        name: node.input[0]
        for name, node in nodes.items()
        if (node.domain, node.op_type) in (("", "Sigmoid"), ("ai.onnx", "Sigmoid"))
        and node.input[0] in known
        and not _periodic(keep, node.input[0])
    }


def _periodic(keep: KeepMap, tensor: str) -> bool:
    """Whether slots of the tensor stand for many indices, so that they cannot be picked here."""
    return any(axis.tensor == tensor for axis in keep.periods)


def _outputs(
    model: ModelProto,
    seen: Sequence[str],
    config: SessionConfig,
    base_dir: Path | None,
    sets: Sequence[Mapping[str, NDArray[Any]]],
) -> list[list[NDArray[Any]]]:
    session = create_session(model, config, base_dir, seen)
    return [[np.asarray(o) for o in session.run(None, dict(feeds))] for feeds in sets]
