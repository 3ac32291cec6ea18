"""Single runs of a pass over the samples, reduced; in this process or in others."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from onnxslim_snacs.activations.in_common import Common
from onnxslim_snacs.activations.instrument import Instrumented, instrument
from onnxslim_snacs.activations.requests import PooledRequest, Request
from onnxslim_snacs.activations.riders import Rider
from onnxslim_snacs.activations.run import execute, execute_staying, open_session
from onnxslim_snacs.activations.sources import Batch, CalibrationSource, Piece
from onnxslim_snacs.activations.sums import Results
from onnxslim_snacs.arithmetic.current import arithmetic
from onnxslim_snacs.cluster.spread import Spread
from onnxslim_snacs.model.facts import ModelFacts
from onnxslim_snacs.model.session import SessionConfig
from onnxslim_snacs.ops.analyse import Analysis


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked of all runs of a pass.

    Attributes:
        requests: what to reduce.
        session: how to run the model.
        size: samples in a run.
        rider: makes what looks at activations as well, of the model; None for nobody.
    """

    requests: tuple[Request, ...]
    session: SessionConfig
    size: int
    rider: Callable[[Analysis], Rider] | None = None


@dataclass(frozen=True, slots=True)
class Turn:
    """One run.

    Attributes:
        number: of the run, from 0.
        piece: its samples.
        rides: whether the rider looks at it.
    """

    number: int
    piece: Piece
    rides: bool


@dataclass(frozen=True, slots=True)
class ReducedRun:
    """What one run has found.

    Attributes:
        size: number of samples, repetitions not counted.
        filled: the same with those that fill a fixed batch.
        index: (sample,) their numbers in the source.
        labels: (sample,) their classes, if known.
        results: name -> value of the reductions.
        surplus: the same of a run of nothing but the last sample, where it fills the batch.
        seen: what the rider has kept, if it looked.
    """

    size: int
    filled: int
    index: NDArray[np.int64]
    labels: NDArray[np.int64] | None
    results: Results
    surplus: Results | None
    seen: Any


def reduced_runs(
    facts: ModelFacts,
    source: CalibrationSource,
    model: Instrumented,
    asked: Asked,
    rider: Rider | None,
    spread: Spread | None,
) -> Generator[ReducedRun, None, None]:
    """All samples once, run by run.

    Args:
        facts: the model and the shapes of its tensors.
        source: the samples.
        model: the model with its reductions.
        asked: what is asked of each run.
        rider: looks at activations, if somebody does.
        spread: where runs are made; None for this process.
    """
    turns = _turns(source, asked.size, 0 if rider is None else rider.samples)
    if spread is not None:
        yield from spread(open_runs, asked, turns)
        return
    run = runner(facts, source, model, asked, rider)
    for turn in turns:
        yield run(turn)


def _turns(source: CalibrationSource, size: int, ridden: int) -> Iterator[Turn]:
    """All runs; those that the rider looks at lie evenly among them.

    Samples come in the order of the files, in which those of one class may lie together.
    """
    total, done = source.samples, 0
    for number, piece in enumerate(source.pieces(size)):
        before, done = done, done + piece.size  # samples of a batch, or numbers in an array
        steps = [-(-at * ridden // (total * size)) for at in (before, done)]
        yield Turn(number, piece, ridden >= total or steps[1] > steps[0])


def open_runs(common: Common, asked: Asked) -> Callable[[Turn], ReducedRun]:
    """What makes runs in a process that shares them with others."""
    analysis = common.analysis
    rider = None if asked.rider is None else asked.rider(analysis)
    if rider is not None:
        rider.begin(asked.size)
    model = instrument(analysis.facts, asked.requests)
    return runner(analysis.facts, common.samples.scoring, model, asked, rider)


def runner(
    facts: ModelFacts,
    source: CalibrationSource,
    model: Instrumented,
    asked: Asked,
    rider: Rider | None,
) -> Callable[[Turn], ReducedRun]:
    """What makes runs; see `reduced_runs`."""
    seen = () if rider is None else rider.tensors
    watched = tuple(name for name in seen if name not in facts.graph.inputs)
    session = open_session(model.proto, asked.session, facts.graph.base_dir, watched)
    reduced = dict.fromkeys(n for kinds in model.outputs.values() for n in kinds.values())
    has_sums = not all(isinstance(request, PooledRequest) for request in model.outputs)

    def run(turn: Turn) -> ReducedRun:
        # results depend on the threads of linear algebra as well, wherever this runs
        with threadpool_limits(limits=asked.session.threads):
            return reduce(turn)

    def reduce(turn: Turn) -> ReducedRun:
        batch = source.batch(turn.piece)
        names = [*reduced, *(watched if turn.rides else ())]
        made = _made(session, names, batch, watched)
        found = dict(zip(names, made, strict=True))
        values = {**batch.inputs, **found}
        return ReducedRun(
            size=batch.size,
            filled=batch.filled,
            index=batch.index,
            labels=batch.labels,
            results={name: found[name] for name in reduced},
            surplus=surplus(batch) if has_sums else None,
            seen=rider.look(turn.number, values) if rider is not None and turn.rides else None,
        )

    def surplus(batch: Batch) -> Results | None:
        if batch.filled == batch.size:
            return None
        names = list(reduced)
        return dict(zip(names, execute(session, names, batch.repeated()), strict=True))

    return run


def _made(session: Any, names: Sequence[str], batch: Batch, watched: Sequence[str]) -> list[Any]:
    """The outputs of a run; what is looked at stays where torch computes, if that does."""
    if not names:  # inputs alone are watched
        return []
    here = arithmetic()
    if here.name == "torch" and watched:
        return execute_staying(session, names, batch.inputs, watched, here.device)
    return list(execute(session, names, batch.inputs))
