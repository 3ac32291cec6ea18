"""Recovery after the cut: which method runs, and whether its result is better end to end."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
from onnx import ModelProto, helper

from onnxslim_snacs.drift import Drift
from onnxslim_snacs.ir.keep import keep_map
from onnxslim_snacs.judge import Judge
from onnxslim_snacs.model.mapped import tensor_array
from onnxslim_snacs.ops.analyse import Analysis
from onnxslim_snacs.passes.prune import prune
from onnxslim_snacs.passes.recover import Cut, LayerRecord, Recovered
from onnxslim_snacs.passes.recover_bias import recover_bias
from onnxslim_snacs.passes.recover_least_squares import recover_least_squares
from onnxslim_snacs.passes.recover_statistics import recover_statistics
from onnxslim_snacs.plan.cost import Cost
from onnxslim_snacs.plan.decide import Kept
from onnxslim_snacs.report.report import RecoveryReport
from onnxslim_snacs.scores.criterion import ScoreContext

#: What `--recover` may name beside auto and none, the strongest first.
RECOVERIES: Mapping[str, Callable[[Cut], Recovered]] = {
    "least-squares": recover_least_squares,
    "stats": recover_statistics,
    "bias": recover_bias,
}


#: Samples that recovery looks at: least, and most.
SAMPLES = (128, 1024)
#: Bytes that the largest activation may take over all of them.
MEMORY = 1 << 30


@dataclass(frozen=True, slots=True)
class Outcome:
    """A model after recovery, or the cut model if that did not help.

    Attributes:
        model: the model.
        drift: its distance from the original on samples that recovery has not seen.
        report: what happened.
    """

    model: ModelProto
    drift: Drift
    report: RecoveryReport


#: Samples with which the attempts of the automatic decision are recovered.
ATTEMPT = 256


@dataclass(frozen=True, slots=True)
class Droppers:
    """Decision -> what it costs on held-out samples, after the recovery that was asked for.

    Attributes:
        attempt: with few samples for recovery, for the search.
        final: with all of them, as it will be written; None where that is the same.
    """

    attempt: Callable[[Kept], float]
    final: Callable[[Kept], float] | None


def droppers(asked: str, context: ScoreContext, judge: Judge, max_drop: float) -> Droppers:
    """How the automatic decision judges: with a margin, so that the promise holds beyond luck.

    One standard error is added to what was counted, but never more than half of what is tolerated:
    with few samples something has to be able to go.  Answers are counted on mixed samples as well:
    the others may be those that the network was trained on.
    """

    def careful(recover: Callable[[Kept], Outcome]) -> Callable[[Kept], float]:
        def drop(kept: Kept) -> float:
            outcome = recover(kept)
            drift = judge.with_blend(outcome.model, outcome.drift)
            return drift.drop + min(drift.standard_error or 0.0, max_drop / 2)

        return drop

    attempt = careful(recoverer(asked, context, judge))
    whole = recovery_samples(context.analysis, context.source.samples)
    if asked == "none" or whole <= ATTEMPT:
        return Droppers(attempt, None)
    return Droppers(attempt, careful(recoverer(asked, context, judge, whole)))


def recoverer(
    asked: str, context: ScoreContext, judge: Judge, size: int = ATTEMPT
) -> Callable[[Kept], Outcome]:
    """Decision -> the cut model after recovery, with its distance from the original.

    Args:
        asked: auto, none, or a key of `RECOVERIES`.
        context: the model and its data.
        judge: compares with the original.
        size: samples that recovery looks at, at the most.
    """
    size = min(size, recovery_samples(context.analysis, context.source.samples))
    samples = context.source.part(0, size)

    def recover(kept: Kept) -> Outcome:
        keep = keep_map(context.analysis.ir, kept)
        model = prune(context.analysis, keep)
        cut = Cut(context.analysis, keep, model, samples, context.session, context.seed)
        return recover_cut(asked, cut, judge, judge.drift(model))

    return recover


def recover_cut(asked: str, cut: Cut, judge: Judge, raw: Drift) -> Outcome:
    """Recover a cut model, and keep the result only if it is nearer to the original end to end.

    Nearer means: neither the error of the outputs nor the drop (`Drift.drop`) is larger.

    Args:
        asked: auto, none, or a key of `RECOVERIES`; auto takes the first that helps.
        cut: the cut.
        judge: compares with the original.
        raw: distance of the cut model.
    """
    if asked == "none":
        return Outcome(cut.model, raw, RecoveryReport(asked, "none", raw))
    if asked == "auto" and cut.source.is_random:
        reason = "random inputs say nothing about the data to come"
        return Outcome(cut.model, raw, RecoveryReport(asked, "none", raw, (), reason))
    layers: tuple[LayerRecord, ...] = ()
    for name in RECOVERIES if asked == "auto" else (asked,):
        recovered = RECOVERIES[name](cut)
        layers = layers or recovered.layers
        if not any(layer.kept for layer in recovered.layers):
            continue
        moved = judge.drift(recovered.model)
        if moved.rel_error <= raw.rel_error and moved.drop <= raw.drop:
            report = RecoveryReport(asked, name, raw, recovered.layers)
            return Outcome(recovered.model, moved, report)
    reason = "nothing that was tried brought the model nearer to the original"
    return Outcome(cut.model, raw, RecoveryReport(asked, "none", raw, layers, reason))


def recovery_samples(analysis: Analysis, samples: int) -> int:
    """How many of the samples recovery looks at: fewer where activations are large."""
    facts = analysis.facts
    first = next(iter(analysis.graph.inputs), "")
    runs = facts.samples(first)
    batch = max(1, runs[0][0]) if runs and runs[0] else 1
    names = (name for node in analysis.nodes for name in node.outputs if name)
    largest = max((prod(shapes[0]) for n in names if (shapes := facts.samples(n))), default=1)
    least, most = SAMPLES
    wanted = max(least, min(most, MEMORY * batch // max(1, 4 * largest)))
    return min(samples, wanted)


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
        digest.update(np.ascontiguousarray(tensor_array(tensor, base_dir)).tobytes())
    return digest.hexdigest()


def with_added(cost: Cost, cut: ModelProto, recovered: ModelProto) -> Cost:
    """The cost with the biases that recovery has added."""
    known = {tensor.name for tensor in cut.graph.initializer}
    params = size = 0
    for tensor in recovered.graph.initializer:
        if tensor.name not in known:
            count = prod(tensor.dims)
            params += count
            size += count * helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    return Cost(cost.params + params, cost.macs, cost.bytes + size)
