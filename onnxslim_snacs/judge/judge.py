"""Cut models beside the original: how far they have moved, and how long they take."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

from onnx import ModelProto

from onnxslim_snacs.activations.blend import blended
from onnxslim_snacs.activations.sources import CalibrationSource
from onnxslim_snacs.errors import InputRefused, ProofFailed
from onnxslim_snacs.judge.drift import Answers, Drift, answers, drift
from onnxslim_snacs.model.session import SessionConfig
from onnxslim_snacs.ops.analyse import Analysis

#: Samples that are set aside to judge a decision: enough for a standard error of about one per
#: cent at 90 % agreement, and never more than this share of what there is; the automatic decision
#: has nothing else to go by, and is worth more of them.
HELD_OUT, SHARE, SHARE_AUTO = 512, 0.25, 0.5
#: Bytes that the original's answers to them may take; they are kept to compare others with.
MEMORY = 1 << 28


def split_source(
    source: CalibrationSource, share: float = SHARE
) -> tuple[CalibrationSource, CalibrationSource]:
    """Samples for scoring and samples for judging; the latter are the last ones."""
    total = source.samples
    aside = min(HELD_OUT, max(1, int(total * share)))
    if total < 2:
        return source, source
    return source.part(0, total - aside), source.part(total - aside, total)


@dataclass(slots=True)
class Judge:
    """Compares cut models with the original on samples that scoring has not seen."""

    analysis: Analysis
    source: CalibrationSource
    session: SessionConfig
    seed: int = 0
    _reference: Answers | None = None
    _blend: tuple[CalibrationSource, Answers] | None = None

    def drift(self, model: ModelProto) -> Drift:
        """How far a model is from the original.

        Raises:
            InputRefused: the original cannot be run on the samples.
            ProofFailed: the original can be run on them, but the model cannot.
        """
        graph = self.analysis.graph
        if self._reference is None:
            self.source = self.source.part(0, affordable(self.analysis, self.source.samples))
            self._reference = self._answers(graph.proto)
        try:
            moved = drift(self._reference, self._answers(model))
        except InputRefused as error:
            raise ProofFailed(
                f"the cut model fails where the original does not: {error}"
            ) from error
        # what a classifier answers to noise says nothing about what it answers to data
        return replace(moved, is_telling=moved.is_telling and not self.source.is_random)

    def with_blend(self, model: ModelProto, moved: Drift) -> Drift:
        """The distance with what is to be expected of samples unlike those at hand.

        Args:
            model: the model.
            moved: its distance on the samples as they are.
        """
        if moved.top1_agreement is None:
            return moved
        if self._blend is None:
            source = blended(self.source, self.seed)
            if source is None:
                return moved
            self._blend = source, self._answers(self.analysis.graph.proto, source)
        source, reference = self._blend
        mixed = drift(reference, self._answers(model, source))
        return replace(moved, blend_risk=mixed.drop)

    def _answers(self, model: ModelProto, source: CalibrationSource | None = None) -> Answers:
        batches = (source or self.source).batches()
        return answers(model, batches, self.session, self.analysis.graph.base_dir)


def affordable(analysis: Analysis, samples: int) -> int:
    """How many of the samples can be judged by: large outputs are kept of a few samples only."""
    first = next(iter(analysis.graph.inputs), "")
    shape = analysis.facts.samples(first)
    batch = shape[0][0] if shape and shape[0] else 1
    kept = [analysis.facts.samples(name)[:1] for name in analysis.graph.outputs]
    numbers = sum(prod(shape) for shapes in kept for shape in shapes)
    return max(1, min(samples, MEMORY * max(1, batch) // max(1, 4 * numbers)))
