"""The proof: a cut model computes what the original computes with zeros at the removed slots.

Without recovery this is exact (the consumer-zero oracle): wherever the original sums over a channel
axis, the removed channels are replaced by zeros there, so that they contribute what a consumer with
zero weights would let through.  Zeros at the producer would be wrong as soon as an activation has
f(0) != 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, ValueInfoProto, helper, numpy_helper

from onnxslim_snacs.errors import ProofFailed, foreign
from onnxslim_snacs.ir.keep import KeepMap
from onnxslim_snacs.model.facts import candidate_sizes, random_inputs
from onnxslim_snacs.model.session import SessionConfig, create_session
from onnxslim_snacs.ops.analyse import Analysis

#: Largest max|difference| / max|output| that counts as equal in float32 (reliability P2: 15 times
#: the largest deviation measured over 200 random graphs).
TOLERANCE = 1e-5
#: How many inner tensors are compared beside the outputs: a saturated Softmax hides everything.
WITNESSES = 16
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
    """

    oracle: str
    max_rel_diff: float
    tolerance: float
    samples: int
    passed: bool
    failure: str = ""


def masked_original(analysis: Analysis, keep: KeepMap) -> ModelProto:
    """The original with zeros at the removed slots of every axis that is summed over."""
    model = ModelProto()
    model.CopyFrom(analysis.graph.proto)
    types = tensor_types(model)
    before: dict[int, list[NodeProto]] = {}
    for number, (position, sink) in enumerate(analysis.ir.sinks):
        index = keep.index(sink.axis)
        if index is None:
            continue
        node = model.graph.node[position]
        source, masked = node.input[sink.input], f"masked\0{number}"
        shape = analysis.facts.samples(sink.axis.tensor)[0]
        mask = np.zeros(shape[sink.axis.dim], dtype=bool)
        mask[index] = True
        spread = [1] * len(shape)
        spread[sink.axis.dim] = -1
        before.setdefault(position, []).extend(
            _mask_nodes(source, masked, mask.reshape(spread), types.get(sink.axis.tensor, 1))
        )
        node.input[sink.input] = masked
    after = _blanked(analysis, keep, model)
    nodes = [NodeProto.FromString(node.SerializeToString()) for node in model.graph.node]
    del model.graph.node[:]
    for position, node in enumerate(nodes):
        model.graph.node.extend([*before.get(position, []), node, *after.get(position, [])])
    return model


def _blanked(analysis: Analysis, keep: KeepMap, model: ModelProto) -> dict[int, list[NodeProto]]:
    """Zeros in outputs that keep their extent; the nodes to put behind each node of `model`."""
    types = tensor_types(model)
    after: dict[int, list[NodeProto]] = {}
    for number, (position, blank) in enumerate(analysis.ir.blanks):
        index = keep.index(blank.axis)
        if index is None:
            continue
        node = model.graph.node[position]
        name, whole = node.output[blank.output], f"whole\0{number}"
        shape = analysis.facts.samples(name)[0]
        mask = np.zeros(shape[blank.dim], dtype=bool)
        mask[index] = True
        spread = [1] * len(shape)
        spread[blank.dim] = -1
        node.output[blank.output] = whole
        found = _mask_nodes(whole, name, mask.reshape(spread), types.get(name, 1))
        after.setdefault(position, []).extend(found)
    return after


def _mask_nodes(source: str, masked: str, mask: NDArray[np.bool_], kind: int) -> list[NodeProto]:
    """Nodes that copy `source` where the mask is set and write zeros elsewhere."""
    constant = numpy_helper.from_array(mask.astype(np.float32))
    return [
        helper.make_node("Constant", [], [f"{masked}\0float"], value=constant),
        helper.make_node("Cast", [f"{masked}\0float"], [f"{masked}\0mask"], to=kind),
        helper.make_node("Mul", [source, f"{masked}\0mask"], [masked]),
    ]


def tensor_types(model: ModelProto) -> dict[str, int]:
    """Element type of every tensor of the top-level graph, as far as inference can tell."""
    inferred = onnx.shape_inference.infer_shapes(model).graph
    types = {t.name: t.data_type for t in inferred.initializer}
    for info in (*inferred.value_info, *inferred.input, *inferred.output):
        types[info.name] = info.type.tensor_type.elem_type
    return types


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
    base_dir = analysis.graph.base_dir
    sets = list(feeds) or default_feeds(analysis)
    half = analysis.is_half
    tolerance = TOLERANCE_HALF if half else TOLERANCE
    seen = witnesses(analysis, keep, pruned)
    try:
        wanted = _outputs(masked_original(analysis, keep), seen, config, base_dir, sets)
        got = _outputs(pruned, seen, config, pruned_dir or base_dir, sets)
    except Exception as error:  # whatever ONNX Runtime throws, the model is not proved
        return Proof("consumer-zero", float("inf"), tolerance, 0, False, foreign(error))
    worst = max(
        (
            relative_difference(a, b)
            for w, g in zip(wanted, got, strict=True)
            for a, b in zip(w, g, strict=True)
        ),
        default=0.0,
    )
    passed = worst <= tolerance
    failure = "" if passed else f"outputs differ by {worst:.3g}, allowed are {tolerance:.3g}"
    return Proof("consumer-zero", worst, tolerance, len(sets), passed, failure)


def interface_difference(before: ModelProto, after: ModelProto) -> str:
    """What differs between the inputs and outputs of two models; "" if they are the same."""
    stored = {tensor.name for model in (before, after) for tensor in model.graph.initializer}
    for field in ("input", "output"):
        a, b = ([v for v in getattr(m.graph, field) if v.name not in stored] for m in (before, after))
        if [v.name for v in a] != [v.name for v in b]:
            names = [foreign(v.name) for v in b]
            return f"{field}s are {names}, expected {[foreign(v.name) for v in a]}"
        other = [v.name for v, w in zip(a, b, strict=True) if v.type != w.type]
        if other:
            return f"{field} {foreign(other[0])} has another type or shape"
    return ""


def refuted(failure: str) -> Proof:
    """A proof that has failed before anything was run."""
    return Proof("consumer-zero", float("inf"), TOLERANCE, 0, False, failure)


def require(proof: Proof) -> None:
    """Raise if the proof has failed.

    Raises:
        ProofFailed: with what went wrong.
    """
    if not proof.passed:
        raise ProofFailed(
            f"the cut model is not equal to the masked original: {proof.failure}; nothing was "
            "written; please report this"
        )


def default_feeds(analysis: Analysis) -> list[dict[str, NDArray[Any]]]:
    """Two seeded random input sets of the first sizes for which the shapes are known."""
    facts = analysis.facts
    sizes = {name: facts.samples(name)[0] for name in analysis.graph.inputs if facts.samples(name)}
    if len(sizes) != len(analysis.graph.inputs):
        sizes = candidate_sizes(analysis.graph, {})[0][0]
    return [random_inputs(analysis.graph, sizes, seed) for seed in (1, 2)]


def witnesses(analysis: Analysis, keep: KeepMap, pruned: ModelProto) -> list[str]:
    """The last outputs of layers that both models have whole, compared beside the outputs.

    Only what a layer sums up itself: a saturated Softmax hides every difference, and a Sigmoid far
    below zero shows nothing but its own rounding.
    """
    known = {name for node in pruned.graph.node for name in node.output}
    layers = dict.fromkeys(position for position, _ in analysis.ir.sinks)
    found = [
        name
        for position in sorted(layers, reverse=True)
        for name in analysis.nodes[position].outputs
        if name in known and not keep.touches([name]) and name not in analysis.graph.outputs
    ]
    return found[:WITNESSES]


def _outputs(
    model: ModelProto,
    seen: Sequence[str],
    config: SessionConfig,
    base_dir: Path | None,
    sets: Sequence[Mapping[str, NDArray[Any]]],
) -> list[list[NDArray[Any]]]:
    watched = ModelProto()
    watched.CopyFrom(model)
    watched.graph.output.extend(ValueInfoProto(name=name) for name in seen)
    session = create_session(watched, config, base_dir)
    return [[np.asarray(o) for o in session.run(None, dict(feeds))] for feeds in sets]


def relative_difference(wanted: NDArray[Any], got: NDArray[Any]) -> float:
    """max|difference| / max|output|; inf where shapes, types or non-finite places differ."""
    if wanted.shape != got.shape or wanted.dtype != got.dtype:
        return float("inf")
    if wanted.dtype.kind not in "fc":
        return 0.0 if np.array_equal(wanted, got) else float("inf")
    a, b = wanted.astype(np.float64), got.astype(np.float64)
    finite = np.isfinite(a)
    same = np.array_equal(a[~finite], b[~finite], equal_nan=True)
    if not same or not np.array_equal(finite, np.isfinite(b)):
        return float("inf")
    if not finite.any():
        return 0.0
    scale = float(np.abs(a[finite]).max())
    return float(np.abs(a[finite] - b[finite]).max()) / (scale or 1.0)
