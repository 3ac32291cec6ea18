"""Cut models beside the original: how far they have moved, and how long they take."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

from onnx import ModelProto

from onnxslim_snacs.activations.blend import blended
from onnxslim_snacs.activations.run import batch_size
from onnxslim_snacs.activations.sources import CalibrationSource
from onnxslim_snacs.errors import InputRefused, ProofFailed
from onnxslim_snacs.judge.drift import Answers, Drift, answers, class_output, drift
from onnxslim_snacs.judge.metric import Measure, Metric, open_metric
from onnxslim_snacs.model.session import SessionConfig
from onnxslim_snacs.ops.analyse import Analysis

#: Bytes that the original's answers to them may take; they are kept to compare others with.
MEMORY = 1 << 28


@dataclass(frozen=True, slots=True)
class Judge:
    """Compares cut models with the original on samples that scoring has not seen.

    Attributes:
        analysis: the original.
        source: the samples.
        session: how to run models.
        reference: what the original answers to them.
        blend: samples unlike those at hand, and what the original answers; None if it ranks no
            classes, or if there is nothing to mix.
        metric: the user's own measure, if there is one.
    """

    analysis: Analysis
    source: CalibrationSource
    session: SessionConfig
    reference: Answers
    blend: tuple[CalibrationSource, Answers] | None
    metric: Metric | None = None

    def drift(self, model: ModelProto) -> Drift:
        """How far a model is from the original.

        Raises:
            ProofFailed: the original can be run on the samples, but the model cannot.
        """
        try:
            moved = drift(self.reference, self._answers(model, self.source))
        except InputRefused as error:
            raise ProofFailed(
                f"the cut model fails where the original does not: {error}"
            ) from error
        # what a classifier answers to noise says nothing about what it answers to data
        return replace(moved, is_telling=moved.is_telling and not self.source.is_random)

    def in_full(self, model: ModelProto, moved: Drift) -> Drift:
        """The distance with what is looked at once for a cut: mixed samples, the user's measure.

        Args:
            model: the model.
            moved: its distance on the samples as they are.
        """
        if self.metric is not None:
            moved = self.metric.beside(model, moved)
        return self.with_blend(model, moved)

    def with_blend(self, model: ModelProto, moved: Drift) -> Drift:
        """The distance with what is to be expected of samples unlike those at hand.

        Args:
            model: the model.
            moved: its distance on the samples as they are.
        """
        if moved.top1_agreement is None or self.blend is None:
            return moved
        source, reference = self.blend
        mixed = drift(reference, self._answers(model, source))
        return replace(moved, blend_risk=mixed.drop)

    def _answers(self, model: ModelProto, source: CalibrationSource) -> Answers:
        return answers_to(self.analysis, model, source, self.session)


def open_judge(
    analysis: Analysis,
    source: CalibrationSource,
    session: SessionConfig,
    seed: int = 0,
    measure: str | Measure | None = None,
) -> Judge:
    """Run the original on the samples, as many as its answers leave room for.

    Args:
        analysis: the original.
        source: the samples.
        session: how to run models.
        seed: for the samples that are mixed.
        measure: the user's own measure, or `module:function`.

    Raises:
        InputRefused: the original cannot be run on them, or measured.
    """
    given = analysis.graph
    metric = None if measure is None else open_metric(measure, given.proto, given.base_dir)
    original = given.proto
    source = source.part(0, affordable(analysis, source.samples))
    reference = answers_to(analysis, original, source, session)
    mixed = blended(source, seed) if class_output(reference) is not None else None
    if mixed is None:
        return Judge(analysis, source, session, reference, None, metric)
    told = answers_to(analysis, original, mixed, session)
    return Judge(analysis, source, session, reference, (mixed, told), metric)


def answers_to(
    analysis: Analysis, model: ModelProto, source: CalibrationSource, session: SessionConfig
) -> Answers:
    """What a model answers, in runs that are the same for the original and for what is cut.

    Args:
        analysis: the original, whose activations say how many samples fit into a run.
        model: the model.
        source: the samples.
        session: how to run it.
    """
    size = batch_size(analysis.facts, source, analysis.graph.outputs)
    return answers(model, source.batches(size), session, analysis.graph.base_dir)


def affordable(analysis: Analysis, samples: int) -> int:
    """How many of the samples can be judged by: large outputs are kept of a few samples only."""
    kept = [analysis.facts.samples(name)[:1] for name in analysis.graph.outputs]
    numbers = sum(prod(shape) for shapes in kept for shape in shapes)
    return max(1, min(samples, MEMORY * (analysis.facts.first_batch or 1) // max(1, 4 * numbers)))
