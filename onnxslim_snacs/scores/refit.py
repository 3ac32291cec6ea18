"""What a channel costs when the layers that read it are re-fitted each time.

Backward greedy on the second moments of what the readers see, the block form of optimal brain
surgeon (Hassibi & Stork 1993; ZipLM; method 4.2): with H the covariance of a reader's input and W
its weight, taking out the features b of a unit and re-fitting the others raises the squared error
by trace(W_b^T (H^-1_bb)^-1 W_b).  What a unit costs is the sum over its readers, each relative to
the variance of what it makes; the cheapest goes, and H^-1 and W are those of the others.
"""

from __future__ import annotations

import numpy as np
from threadpoolctl import threadpool_limits

from onnxslim_snacs.arithmetic.current import arithmetic
from onnxslim_snacs.arithmetic.kernels import Emptied
from onnxslim_snacs.ir.types import IntArray
from onnxslim_snacs.layers.consumers import (
    RIDGE,
    Consumer,
    Consumers,
    Readers,
    consumer_moments,
    readers_of,
)
from onnxslim_snacs.layers.moments import FloatArray
from onnxslim_snacs.scores.criterion import Criterion, ScoreContext, ScoreResult
from onnxslim_snacs.scores.magnitude import l1

#: Rounds in which a group is emptied: small groups lose one unit in each, large ones several.
ROUNDS = 64


def score(context: ScoreContext) -> ScoreResult:
    """Rise of the readers' squared error as each unit goes, the others re-fitted.

    A group whose readers are not known is ordered by the L1 norm of its filters.
    """
    costs = group_costs(context, moments_for(context))
    blind = [g.id for g in context.analysis.ir.groups if g.id not in costs]
    norms = l1(context).scores if blind else {}
    return ScoreResult({**costs, **{name: norms[name] for name in blind}})


def moments_for(context: ScoreContext) -> Consumers:
    """The layers that read each channel axis, with the second moments of what they read."""
    # a thread pool within the linear algebra only gets in the way of ONNX Runtime's
    with threadpool_limits(limits=context.session.threads):
        return consumer_moments(
            context.analysis,
            context.source,
            context.session,
            seed=context.seed,
            progress=context.progress,
            rows=context.spending.moments,
            spread=context.spread,
        )


def group_costs(context: ScoreContext, consumers: Consumers) -> dict[str, FloatArray]:
    """Group id -> (units,) removal costs, of the groups whose readers are known."""
    groups = context.analysis.ir.groups
    costs = {}
    with threadpool_limits(limits=context.session.threads):
        for number, group in enumerate(groups):
            context.progress("removal costs", number, len(groups))
            readers = readers_of(group, consumers)
            if readers:
                costs[group.id] = removal_costs(readers, group.units)
    context.progress("removal costs", len(groups), len(groups))
    return costs


def removal_costs(readers: Readers, units: int) -> FloatArray:
    """(units,) what each unit costs at the moment in which it goes, non-decreasing in that order.

    Args:
        readers: the layers that read the group, with the (units, channels) of its units.
        units: of the group.
    """
    states = [_open(consumer, index) for consumer, index in readers]
    left = np.arange(units)
    cost = np.zeros(units)
    several = -(-units // ROUNDS)
    level = 0.0
    while len(left):
        now = np.sum([state.costs(left) for state in states], axis=0)
        chosen = np.argsort(now, kind="stable")[:several]
        going = left[chosen]
        cost[going] = np.maximum.accumulate(np.maximum(now[chosen], level))
        level = float(cost[going].max())
        left = np.delete(left, chosen)
        for state in states if len(left) else ():
            state.take(np.sort(going))
    return cost


def _open(consumer: Consumer, index: IntArray) -> Emptied:
    features = len(consumer.mean)
    level = max(float(np.trace(consumer.covariance)) / features, 1e-30)
    damped = consumer.covariance + RIDGE * level * np.eye(features)
    blocks = np.stack([consumer.features(channels) for channels in index])
    weight = consumer.weight / np.sqrt(consumer.variance)
    return arithmetic().open_reader(damped, weight, blocks)


REFIT = Criterion(
    "refit",
    "rise of the error of the layers that read a unit after their best re-fit (block OBS)",
    score,
    needs=("weights", "activations"),
)
