"""Pooled activations of all layers, from one pass over the data."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from onnxslim_snacs.activations.requests import PooledRequest, Statistics, pooled_request
from onnxslim_snacs.activations.statistics import collect
from onnxslim_snacs.ir.types import Axis
from onnxslim_snacs.layers.pairs import Pair
from onnxslim_snacs.scores.criterion import ScoreContext

#: Rows of pooled activations that the estimator sees; published runs took 2,000 to 2,500.
ROWS = 2048


def pooled_statistics(context: ScoreContext, pairs: list[Pair]) -> Statistics:
    """One pass over the data: every layer's input and output, averaged over its positions."""
    axes = dict.fromkeys(axis for pair in pairs for axis in (pair.data, pair.out))
    requests = [request(context, axis) for axis in axes]
    classes = class_axis(context)
    # a thread pool within the rider's products only gets in the way of ONNX Runtime's
    with threadpool_limits(limits=context.session.threads):
        return collect(
            context.analysis.facts,
            context.source,
            requests if classes is None else [*requests, request(context, classes)],
            context.session,
            rows_cap=ROWS,
            seed=context.seed,
            progress=lambda done, total: context.progress("activations", done, total),
            rider=context.rider,
            spread=context.spread,
        )


def request(context: ScoreContext, axis: Axis) -> PooledRequest:
    """What to ask of an axis: the mean over everything but samples and channels."""
    return pooled_request(context.analysis.facts, axis.tensor, axis.dim, context.source.specs)


def class_axis(context: ScoreContext) -> Axis | None:
    """The axis of the first output that ranks classes: (samples, at least 2)."""
    for name in context.analysis.graph.outputs:
        shapes = context.analysis.facts.samples(name)
        if shapes and all(len(s) == 2 and s[1] >= 2 for s in shapes):
            return Axis(name, 1)
    return None


def classes_of(context: ScoreContext, statistics: Statistics) -> NDArray[np.int64] | None:
    """(rows,) the classes: the labels if there are any, else the original's own answers."""
    if statistics.labels is not None:
        return statistics.labels
    axis = class_axis(context)
    if axis is None:
        return None
    answers: NDArray[np.int64] = statistics.pooled[request(context, axis)].argmax(axis=1)
    return answers
