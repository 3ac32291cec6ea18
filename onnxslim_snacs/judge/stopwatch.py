"""Two models side by side: size, work and time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from numpy.typing import NDArray
from onnx import ModelProto

from onnxslim_snacs.activations.run import open_session, refusing
from onnxslim_snacs.activations.sources import CalibrationSource
from onnxslim_snacs.ir.keep import keep_map
from onnxslim_snacs.model.graph import ModelGraph
from onnxslim_snacs.model.session import SessionConfig
from onnxslim_snacs.ops.analyse import Analysis
from onnxslim_snacs.passes.prune import prune
from onnxslim_snacs.plan.kept import Kept


@dataclass(frozen=True, slots=True)
class Latency:
    """Time for one run of two models, measured in alternation.

    Attributes:
        before: median seconds of the first.
        after: median seconds of the second.
        ratio: median of the ratios of neighbouring runs, which drifts of the machine do not touch.
        runs: number of pairs.
    """

    before: float
    after: float
    ratio: float
    runs: int


def compare_latency(
    before: ModelProto,
    after: ModelProto,
    feeds: Mapping[str, NDArray[Any]],
    config: SessionConfig,
    *,
    base_dirs: tuple[Path | None, Path | None] = (None, None),
    seconds: float = 2.0,
    least_runs: int = 15,
) -> Latency:
    """Time two models in alternating runs with pinned threads.

    Args:
        before: the first model.
        after: the second model.
        feeds: one input set that both take.
        config: provider, threads and optimisation level.
        base_dirs: where external data of the two lies.
        seconds: for how long to go on after the least number of runs.
        least_runs: pairs to run in any case, after two that do not count.
    """
    config = replace(config, prepack=True)  # the same for both, whatever their sizes
    sessions = [
        open_session(model, config, base_dir)
        for model, base_dir in zip((before, after), base_dirs, strict=True)
    ]
    with refusing("a model fails on the samples"):
        pairs = _timed_pairs(sessions, dict(feeds), seconds, least_runs)
    return Latency(
        median(p[0] for p in pairs),
        median(p[1] for p in pairs),
        median(p[1] / p[0] for p in pairs),
        len(pairs),
    )


def _timed_pairs(
    sessions: list[Any], inputs: dict[str, NDArray[Any]], seconds: float, least_runs: int
) -> list[tuple[float, float]]:
    """Seconds of the first and of the second model, run in turns."""
    for session in sessions * 2:
        session.run(None, inputs)
    pairs: list[tuple[float, float]] = []
    end = perf_counter() + seconds
    while len(pairs) < least_runs or (perf_counter() < end and len(pairs) < 2000):
        first, second = (_timed(session, inputs) for session in sessions)
        pairs.append((first, second))
        sessions.reverse()
        if len(pairs) % 2 == 0:
            pairs[-1] = (second, first)
    return pairs


def _timed(session: Any, inputs: dict[str, NDArray[Any]]) -> float:
    start = perf_counter()
    session.run(None, inputs)
    return perf_counter() - start


@dataclass(frozen=True, slots=True)
class LatencyWatch:
    """Measures cut models beside the original, one sample a run.

    Attributes:
        analysis: the model that is cut.
        source: the samples.
        session: how to run it.
        original: the model as it was read, perhaps in other bases, or with more blocks, than the
            one that is cut.
    """

    analysis: Analysis
    source: CalibrationSource
    session: SessionConfig
    original: ModelGraph

    def measure(self, model: ModelProto, seconds: float) -> Latency:
        """Time a model for some seconds."""
        graph = self.original
        feeds = next(iter(self.source.batches(1))).inputs
        folders = (graph.base_dir, graph.base_dir)
        return compare_latency(
            graph.proto, model, feeds, self.session, base_dirs=folders, seconds=seconds
        )

    def share(self, kept: Kept) -> float:
        """Time of a decision as a share of the original's."""
        return self._share(kept, 0.5)

    def long_share(self, kept: Kept) -> float:
        """The same, measured for longer."""
        return self._share(kept, 2.0)

    def _share(self, kept: Kept, seconds: float) -> float:
        model = prune(self.analysis, keep_map(self.analysis.ir, kept))
        return self.measure(model, seconds).ratio
