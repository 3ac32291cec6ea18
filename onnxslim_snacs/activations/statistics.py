"""Statistics of activations: one pass, in memory that does not grow with the samples."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxslim_snacs.activations.instrument import Instrumented, instrument
from onnxslim_snacs.activations.reduced import Asked, ReducedRun, reduced_runs
from onnxslim_snacs.activations.requests import PooledRequest, Request, Statistics
from onnxslim_snacs.activations.reservoir import Reservoir, row_keys, smallest
from onnxslim_snacs.activations.riders import Rider
from onnxslim_snacs.activations.run import batch_size
from onnxslim_snacs.activations.sources import CalibrationSource
from onnxslim_snacs.activations.sums import (
    Sums,
    add_sums,
    all_sums,
    grams,
    moments,
    products_bytes,
    ranges,
    sums_of_run,
)
from onnxslim_snacs.cluster.spread import Spread
from onnxslim_snacs.errors import InputRefused, InternalError, LimitExceeded, foreign
from onnxslim_snacs.model.facts import ModelFacts
from onnxslim_snacs.model.session import SessionConfig

#: Rows that are kept of pooled activations.
ROWS = 2048
#: Bytes that all second moments together may take.
MAX_PRODUCTS = 4 << 30

Progress = Callable[[int, int], None]


def collect(
    facts: ModelFacts,
    source: CalibrationSource,
    requests: Iterable[Request],
    config: SessionConfig,
    *,
    rows_cap: int = ROWS,
    size: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    rider: Rider | None = None,
    spread: Spread | None = None,
) -> Statistics:
    """Run all samples once and reduce what was asked for.

    Means within a run are float32, sums over runs float64.  Rows are a uniform choice among the
    samples that depends on the seed and their numbers alone, not on the batch size.

    Args:
        facts: the model and the shapes of its tensors.
        source: the samples.
        requests: what to reduce.
        config: how to run the model.
        rows_cap: rows of pooled activations to keep at the most.
        size: samples in a run; None for as many as fit into memory, 32 at the most.
        seed: for the choice of rows.
        progress: told (samples done, samples in all) after each run.
        rider: looks at activations in the same runs.
        spread: where the runs are made, by what knows the same model and the table of the samples;
            None for this process.

    Returns:
        What was found.

    Raises:
        InputRefused: the model cannot be run, or fails on the samples, or the samples are refused.
        LimitExceeded: the second moments do not fit into memory.
        InternalError: no request, or one names a tensor or a dimension that is not there.
    """
    wanted = list(dict.fromkeys(requests))
    if not wanted:
        raise InternalError("statistics of nothing were asked for")
    model = instrument(facts, wanted)
    needed = products_bytes(wanted, facts.shapes[0])
    if needed > MAX_PRODUCTS:
        raise LimitExceeded(f"second moments of {needed} bytes, at most {MAX_PRODUCTS} are kept")
    if model.images and config.level == 3 and config.provider == "cpu":
        # ONNX Runtime's blocked layout rewrites the graph, and numbers its new nodes in the order
        # in which they are to run; the default order would turn that round
        config = replace(config, order="priority")
    alone = any(isinstance(r, PooledRequest) and r.sample_dim is None for r in wanted)
    if size is None:
        seen = () if rider is None else rider.tensors
        tensors = dict.fromkeys([*(r.tensor for r in wanted), *seen])
        size = 1 if alone else batch_size(facts, source, list(tensors))
    asked = Asked(tuple(wanted), config, size, None if rider is None else rider.anew)
    make = partial(reduced_runs, facts, source, model, rider=rider, spread=spread)
    runs = _Runs(model, source, rider, make, progress or (lambda done, total: None))
    try:
        return _collect(runs, asked, Reservoir(rows_cap, seed))
    except _OddRows as odd:
        if source.fixed_batch is not None or size == 1:
            raise InputRefused(str(odd)) from odd
        return _collect(runs, replace(asked, size=1), Reservoir(rows_cap, seed))


class _OddRows(Exception):
    """The rows of a tensor cannot be dealt out among the samples of a run."""


@dataclass(frozen=True, slots=True)
class _Runs:
    """A pass over the samples.

    Attributes:
        model: with its reductions.
        source: the samples.
        rider: looks at activations; None for nobody.
        make: makes the runs, as is asked of them.
        report: told (samples done, samples in all).
    """

    model: Instrumented
    source: CalibrationSource
    rider: Rider | None
    make: Callable[[Asked], Generator[ReducedRun, None, None]]
    report: Progress


def _collect(runs: _Runs, asked: Asked, reservoir: Reservoir[PooledRequest]) -> Statistics:
    outputs, rider = runs.model.outputs, runs.rider
    if rider is not None:
        rider.begin(asked.size)
    pooled = {r: kinds["rows"] for r, kinds in outputs.items() if isinstance(r, PooledRequest)}
    sums: Sums = {}
    done = 0
    with closing(runs.make(asked)) as found:
        for one in found:
            results = {r: _rows(r, one.results[n], one.filled) for r, n in pooled.items()}
            rows = {r: values[: one.size] for r, values in results.items()}
            reservoir.add(one.index, rows, one.labels)
            add_sums(sums, sums_of_run(outputs, one.results))
            if one.surplus is not None:
                surplus = sums_of_run(outputs, one.surplus)
                add_sums(sums, surplus, weight=one.size / one.filled - 1.0)
            if rider is not None and one.seen is not None:
                rider.take(one.seen)
            done += one.size
            runs.report(done, runs.source.samples)
    index, labels, kept = reservoir.sorted_rows()
    return Statistics(
        samples=done,
        rows_cap=reservoir.cap,
        seed=reservoir.seed,
        index=index,
        labels=labels,
        pooled=kept,
        moments=moments(sums),
        ranges=ranges(sums),
        grams=grams(sums),
    )


def _rows(request: PooledRequest, means: NDArray[Any], samples: int) -> NDArray[Any]:
    """(sample, channel) from the reduction's (rows, channel), (channel, rows) or (channel,)."""
    if request.sample_dim is None:
        return np.broadcast_to(means, (samples, len(means)))
    rows = means.reshape(means.shape[0], means.shape[1])
    if request.sample_dim > request.channel_dim:
        rows = rows.T
    if len(rows) == samples:
        return rows
    if len(rows) % samples:
        raise _OddRows(
            f"{foreign(request.tensor)}: {len(rows)} rows in dimension {request.sample_dim} for a "
            f"batch of {samples}"
        )
    folded: NDArray[Any] = rows.reshape(samples, -1, rows.shape[1]).mean(axis=1)
    return folded


def merge(a: Statistics, b: Statistics) -> Statistics:
    """Statistics of the union of two disjoint parts of the samples.

    Args:
        a: of one part.
        b: of another part, from the same requests, rows and seed.

    Raises:
        InternalError: they were not asked the same.
    """
    same = (a.rows_cap, a.seed, a.labels is None) == (b.rows_cap, b.seed, b.labels is None)
    fields = ("pooled", "moments", "ranges", "grams")
    if not same or any(getattr(a, f).keys() != getattr(b, f).keys() for f in fields):
        raise InternalError("only statistics of the same requests, rows and seed can be merged")
    union = np.concatenate([a.index, b.index])
    chosen = smallest(row_keys(union, a.seed), a.rows_cap)
    chosen = chosen[np.argsort(union[chosen], kind="stable")]
    sums = all_sums(a)
    add_sums(sums, all_sums(b))
    labels = None
    if a.labels is not None and b.labels is not None:
        labels = np.concatenate([a.labels, b.labels])[chosen]
    return Statistics(
        samples=a.samples + b.samples,
        rows_cap=a.rows_cap,
        seed=a.seed,
        index=union[chosen],
        labels=labels,
        pooled={r: np.concatenate([rows, b.pooled[r]])[chosen] for r, rows in a.pooled.items()},
        moments=moments(sums),
        ranges=ranges(sums),
        grams=grams(sums),
    )
