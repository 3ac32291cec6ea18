"""Recovery after the cut: which method runs, and whether its result is better end to end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import prod

from onnx import ModelProto

from onnxslim_snacs.activations.samples import Samples
from onnxslim_snacs.config.spending import NORMAL
from onnxslim_snacs.judge.drift import Drift
from onnxslim_snacs.judge.judge import Judge
from onnxslim_snacs.ops.analyse import Analysis
from onnxslim_snacs.plan.work import Work
from onnxslim_snacs.proof.outcome import ProvedCut
from onnxslim_snacs.recovery.effort import whole_effort
from onnxslim_snacs.recovery.jobs import Cut, LayerRecord, Recovered
from onnxslim_snacs.recovery.methods import recover_bias, recover_least_squares, recover_statistics

#: What `--recover` may name beside auto and none, the strongest first.
RECOVERIES: Mapping[str, Callable[[Cut], Recovered]] = {
    "least-squares": recover_least_squares,
    "stats": recover_statistics,
    "bias": recover_bias,
}


#: Samples that recovery looks at, at the least.
SAMPLES = 128
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


def recover_proved(
    work: Work, asked: str, cut: ProvedCut, samples: Samples, judge: Judge
) -> Outcome:
    """Recover a cut that was proved, and say how far the result is from the original.

    Args:
        work: the original.
        asked: auto, none, or a key of `RECOVERIES`.
        cut: the cut.
        samples: recovery sees the scoring ones.
        judge: compares with the original on the others.
    """
    with work.clock.stage("drift"):
        moved = judge.drift(cut.model)
    with work.clock.stage("recover"):
        few = samples.scoring.part(
            0, recovery_samples(work.analysis, samples.scoring.samples, work.spending.samples)
        )
        there = Cut(
            work.analysis,
            cut.keep,
            cut.model,
            few,
            work.session,
            work.seed,
            work.progress,
            whole_effort(work.spending),
            aims=work.aims,
        )
        found = recover_cut(asked, there, judge, moved)
        return replace(found, drift=judge.in_full(found.model, found.drift))


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


def recovery_samples(analysis: Analysis, samples: int, most: int = NORMAL.samples) -> int:
    """How many of the samples recovery looks at: fewer where activations are large.

    Args:
        analysis: the model.
        samples: that there are.
        most: that it may look at.
    """
    facts = analysis.facts
    names = (name for node in analysis.nodes for name in node.outputs if name)
    largest = max((prod(shapes[0]) for n in names if (shapes := facts.samples(n))), default=1)
    wanted = max(SAMPLES, min(most, MEMORY * (facts.first_batch or 1) // max(1, 4 * largest)))
    return min(samples, wanted)


@dataclass(frozen=True, slots=True)
class RecoveryReport:
    """What recovery did.

    Attributes:
        asked: what the user asked for.
        used: the method whose result was kept; "none" if the cut model was.
        raw: distance of the cut model from the original on the samples that `Report.drift` is
            about.
        layers: error of each layer before and after, and whether its correction was kept.
        reason: why the cut model was kept.
    """

    asked: str
    used: str
    raw: Drift | None
    layers: tuple[LayerRecord, ...] = ()
    reason: str = ""
