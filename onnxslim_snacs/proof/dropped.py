"""The proof of dropped blocks: what is left computes what the original does with zeros for them.

The oracle shares nothing with the rewiring.  In a copy of the original each branch's output, the
operand of its sum, is taken from itself, so that exactly zero is added; both run without
optimisation, and x + 0 is x.  Beside that every node and every weight has to be the original's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, helper

from onnxslim_snacs.activations.run import execute, open_session
from onnxslim_snacs.errors import InputRefused, ProofFailed, foreign
from onnxslim_snacs.layers.branches import Branch
from onnxslim_snacs.model.edit import free_name, put_nodes, taken_names
from onnxslim_snacs.model.graph import ModelGraph
from onnxslim_snacs.model.mapped import tensor_array
from onnxslim_snacs.model.session import SessionConfig
from onnxslim_snacs.model.sizes import random_inputs
from onnxslim_snacs.ops.analyse import Analysis
from onnxslim_snacs.proof.difference import worst_difference
from onnxslim_snacs.proof.proving_sizes import proving_sizes

#: Largest max|difference| / max|output|: the same sums in the same order differ by nothing, and a
#: block that is there changes the first digits.
ALLOWED = 1e-6


@dataclass(frozen=True, slots=True)
class DropProof:
    """The outcome of the comparison.

    Attributes:
        blocks: how many blocks went.
        max_rel_diff: largest max|difference| / max|output|.
        tolerance: what was allowed.
        samples: how many input sets were run.
        passed: whether the model is proved.
        failure: what is wrong, "" if nothing is.
    """

    blocks: int
    max_rel_diff: float
    tolerance: float
    samples: int
    passed: bool
    failure: str = ""


def prove_drop(
    given: ModelGraph,
    analysis: Analysis,
    branches: Sequence[Branch],
    left: ModelGraph,
    threads: int = 1,
) -> DropProof:
    """Compare a model without some blocks with the original in which they add zero.

    Args:
        given: the original as it was read.
        analysis: the same, analysed.
        branches: the blocks that went, none of several parts.
        left: the model without them.
        threads: threads of ONNX Runtime.

    Returns:
        The outcome; a failure is a value too.
    """
    wrong = _altered(given, left, {b.exit: b.shortcut for b in branches})
    if wrong:
        return DropProof(len(branches), float("inf"), ALLOWED, 0, passed=False, failure=wrong)
    config = SessionConfig(threads=threads, level=0)
    sets = [
        random_inputs(analysis.graph, one, seed)
        for seed, one in enumerate(proving_sizes(analysis, config), start=1)
    ]
    names = list(given.outputs)
    wanted, got = (
        [execute(open_session(proto, config, base_dir), names, feeds) for feeds in sets]
        for proto, base_dir in (
            (zeroed(given.proto, branches), given.base_dir),
            (left.proto, left.base_dir),
        )
    )
    worst = max((worst_difference(*sides) for sides in _by_output(wanted, got)), default=0.0)
    passed = worst <= ALLOWED
    failure = "" if passed else f"outputs differ by {worst:.3g}, allowed are {ALLOWED:.3g}"
    return DropProof(len(branches), worst, ALLOWED, len(sets), passed, failure)


def require_dropped(proof: DropProof) -> None:
    """Raise if the proof has failed.

    Raises:
        ProofFailed: with what went wrong.
    """
    if not proof.passed:
        raise ProofFailed(
            "the model without the dropped blocks is not the original with zeros in their place: "
            f"{proof.failure}; nothing was written; please report this"
        )


def zeroed(proto: ModelProto, branches: Sequence[Branch]) -> ModelProto:
    """The original in which each block adds zero.

    Raises:
        InputRefused: a sum is not where it was.
    """
    model = ModelProto()
    model.CopyFrom(proto)
    taken, before = taken_names(model.graph), {}
    for branch in branches:
        place = next((k for k, n in enumerate(model.graph.node) if branch.total in n.output), None)
        if place is None:
            raise InputRefused(f"no node writes {foreign(branch.total)}")
        nothing = free_name(f"{branch.added}_zero", taken)
        taken.add(nothing)
        node = model.graph.node[place]
        node.input[list(node.input).index(branch.added)] = nothing
        before[place] = [helper.make_node("Sub", [branch.added, branch.added], [nothing])]
    put_nodes(model.graph, before=before)
    return model


def _by_output(
    wanted: Sequence[Sequence[NDArray[Any]]], got: Sequence[Sequence[NDArray[Any]]]
) -> list[tuple[Sequence[NDArray[Any]], Sequence[NDArray[Any]]]]:
    sides = (zip(*side, strict=True) for side in (wanted, got))
    return [(list(a), list(b)) for a, b in zip(*sides, strict=True)]


def _altered(given: ModelGraph, left: ModelGraph, places: Mapping[str, str]) -> str:
    """What of the rest is not the original's, but for who reads a dropped block; "" if nothing."""
    by_output = {node.output[0]: node for node in given.nodes if node.output}
    for node in left.nodes:
        old = by_output.get(node.output[0]) if node.output else None
        if old is None:
            return f"node {foreign(node.name or node.op_type)} is not in the original"
        again = type(node).FromString(node.SerializeToString())
        for k, name in enumerate(old.input):
            if name in places and k < len(again.input):
                again.input[k] = name
        if again != old:
            return f"node {foreign(node.name or node.output[0])} is not the original's"
    for name, tensor in left.initializers.items():
        there = given.initializers.get(name)
        if there is None or there.data_type != tensor.data_type or there.dims != tensor.dims:
            return f"weight {foreign(name)} is not the original's"
        old_value, value = tensor_array(there, given.base_dir), tensor_array(tensor, left.base_dir)
        if np.asarray(old_value).tobytes() != np.asarray(value).tobytes():
            return f"weight {foreign(name)} has other numbers"
    return ""
