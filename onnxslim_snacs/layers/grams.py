"""Second moments of what layers read and the spread of what they make: one pass over the samples.

Layers that read the same tensor in the same way share their moments.  The model runs once, a batch
at a time; of each batch some output positions are drawn, and only what lies under them is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from math import prod
from typing import Any

import numpy as np
from onnx import helper

from onnxslim_snacs.activations.instrument import instrument
from onnxslim_snacs.activations.reduced import Asked, reduced_runs
from onnxslim_snacs.activations.run import batch_size
from onnxslim_snacs.activations.sources import CalibrationSource
from onnxslim_snacs.cluster.spread import Spread
from onnxslim_snacs.config.spending import NORMAL, RowCount
from onnxslim_snacs.layers.drawn import Drawn, Reading, TargetSums, draw, made_of
from onnxslim_snacs.layers.moments import FloatArray
from onnxslim_snacs.layers.parts_of_rows import Parts
from onnxslim_snacs.model.session import SessionConfig
from onnxslim_snacs.ops.analyse import Analysis
from onnxslim_snacs.progress import Progress

#: Numbers that the rows of a layer's second moments may hold.
HELD = 1 << 25


@dataclass(frozen=True, slots=True)
class Read:
    """What a pass has found about a layer.

    Attributes:
        mean: (features,) of what it reads.
        covariance: (features, features).
        variance: of its target, summed over the channels.
    """

    mean: FloatArray
    covariance: FloatArray
    variance: float


@dataclass(slots=True)
class _Gram:
    """Moments of one tensor as some layers read it.

    Attributes:
        readings: positions of those layers among all.
        features: of a row.
        cap: rows to take of each batch.
        parts: a part for each batch.
    """

    readings: list[int]
    features: int
    cap: int
    parts: Parts = field(default_factory=Parts)


@dataclass(slots=True)
class Gathering:
    """Second moments while they are gathered; a `Rider` of whoever runs the model.

    Attributes:
        analysis: the model.
        readings: the layers.
        seed: for the choice of rows.
        rows: of the second moments of a layer.
        samples: how many samples are looked at.
    """

    analysis: Analysis
    readings: Sequence[Reading]
    seed: int
    rows: RowCount
    samples: int
    _grams: list[_Gram] = field(default_factory=list)
    _spreads: list[TargetSums] = field(default_factory=list)

    @property
    def tensors(self) -> Sequence[str]:
        """The tensors that the layers read, and those into which they run, as far as needed."""
        data = (reading.layer.data for reading in self.readings)
        targets = (r.target for r in self.readings if not r.is_told_by_moments(self.analysis))
        return tuple(dict.fromkeys((*data, *targets)))

    @property
    def anew(self) -> Callable[[Analysis], Gathering]:
        """What makes it in another process, of the same model."""
        return partial(
            Gathering,
            readings=self.readings,
            seed=self.seed,
            rows=self.rows,
            samples=self.samples,
        )

    @property
    def has_begun(self) -> bool:
        """Whether anybody has run the model."""
        return bool(self._grams)

    def begin(self, size: int) -> None:
        """Forget what has been seen; runs of `size` samples follow."""
        self._grams = _grams(self.analysis, self.readings, -(-self.samples // size), self.rows)
        self._spreads = [TargetSums() for _ in self.readings]

    def look(self, number: int, values: Mapping[str, Any]) -> list[Drawn]:
        """Draw positions of run `number`, by it and the seed alone: tensor -> value."""
        rng = np.random.default_rng((self.seed, number))
        return [
            draw(self.analysis, [self.readings[k] for k in gram.readings], gram.cap, values, rng)
            for gram in self._grams
        ]

    def take(self, seen: list[Drawn]) -> None:
        """Take in what was drawn of a run."""
        for gram, drawn in zip(self._grams, seen, strict=True):
            if drawn.part is not None:
                gram.parts.add(drawn.part)
            for number, spread in zip(gram.readings, drawn.spreads, strict=True):
                self._spreads[number].add(spread)

    def found(self) -> list[Read | None]:
        """What was found about each layer, None without rows; can be asked once."""
        results: list[Read | None] = [None] * len(self.readings)
        for gram in self._grams:
            seen = gram.parts.finish()
            if seen is None:
                continue
            for number in gram.readings:
                reading = self.readings[number]
                spread = self._spreads[number]
                is_told = reading.is_told_by_moments(self.analysis)
                made = made_of(self.analysis, reading, seen[1]) if is_told else spread.variance
                results[number] = Read(*seen, made)
        return results


def read_layers(
    analysis: Analysis,
    source: CalibrationSource,
    readings: Sequence[Reading],
    session: SessionConfig,
    seed: int,
    progress: Progress,
    rows: RowCount,
) -> list[Read | None]:
    """Run the model and collect what some of its layers read.

    Args:
        analysis: the model.
        source: the samples.
        readings: the layers.
        session: how to run the model.
        seed: for the choice of rows.
        progress: told (stage, done, total).
        rows: of the second moments of a layer.

    Returns:
        What was found about each; None without rows.
    """
    gathering = Gathering(analysis, readings, seed, rows, source.samples)
    run_alone(gathering, source, session, progress)
    return gathering.found()


def run_alone(
    gathering: Gathering,
    source: CalibrationSource,
    session: SessionConfig,
    progress: Progress,
    spread: Spread | None = None,
) -> None:
    """Run the model for second moments alone.

    Args:
        gathering: what is gathered.
        source: the samples.
        session: how to run the model.
        progress: told (stage, done, total).
        spread: where the runs are made, by what knows the same model; None for this process.
    """
    facts = gathering.analysis.facts
    asked = Asked((), session, batch_size(facts, source, gathering.tensors), gathering.anew)
    gathering.begin(asked.size)
    runs = reduced_runs(facts, source, instrument(facts, ()), asked, gathering, spread)
    done = 0
    with closing(runs):
        for run in runs:
            progress("second moments", done, source.samples)
            gathering.take(run.seen)
            done += run.size
    progress("second moments", source.samples, source.samples)


def _grams(
    analysis: Analysis, readings: Sequence[Reading], batches: int, wanted: RowCount
) -> list[_Gram]:
    """One for each tensor and way of reading it."""
    found: dict[tuple[object, ...], _Gram] = {}
    for number, reading in enumerate(readings):
        layer = reading.layer
        node = analysis.graph.nodes[layer.position]
        window = sorted(
            (a.name, str(helper.get_attribute_value(a)))
            for a in node.attribute
            if layer.op in ("Conv", "ConvTranspose")
        )
        key = (layer.data, layer.data_dim, layer.op, layer.kernel, layer.out_dim, *window)
        features = (analysis.facts.samples(layer.data)[0][layer.data_dim]) * prod(layer.kernel)
        rows = min(HELD // features, wanted.of(features))
        found.setdefault(key, _Gram([], features, -(-rows // batches))).readings.append(number)
    return list(found.values())


def moments_bytes(analysis: Analysis, readings: Sequence[Reading]) -> int:
    """Bytes of the second moments of what some layers read.

    Args:
        analysis: the model.
        readings: the layers.
    """
    return sum(8 * gram.features**2 for gram in _grams(analysis, readings, 1, NORMAL.moments))
