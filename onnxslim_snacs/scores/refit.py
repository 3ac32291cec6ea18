"""What a channel costs when the layers that read it are re-fitted each time.

Backward greedy on the second moments of what the readers see, the block form of optimal brain
surgeon (Hassibi & Stork 1993; ZipLM; method 4.2): with H the covariance of a reader's input and W
its weight, taking out the features b of a unit and re-fitting the others raises the squared error
by trace(W_b^T (H^-1_bb)^-1 W_b).  What a unit costs is the sum over its readers, each relative to
the variance of what it makes; the cheapest goes, and H^-1 and W are those of the others.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

from onnxslim_snacs.ir.types import BoolArray, IntArray
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
#: Share of a reader's features that may be gone before its matrices are made smaller.
GONE = 0.125


@dataclass(slots=True)
class _State:
    """A reader while its channels go.

    Attributes:
        inverse: (features, features) of the covariance of those that are left.
        weight: (features, outputs) re-fitted, relative to the spread of the output.
        blocks: (units, features of a unit).
        here: (features,) whether each is left.
    """

    inverse: FloatArray
    weight: FloatArray
    blocks: IntArray
    here: BoolArray

    def costs(self, units: IntArray) -> FloatArray:
        """(units,) rise of the relative squared error when each unit alone goes next."""
        return block_costs(self.inverse, self.weight, self.blocks[units])

    def take(self, units: IntArray) -> None:
        """Remove units, (units,) their positions, and re-fit what reads the others."""
        gone = self.blocks[units].reshape(-1)
        across = self.inverse[:, gone]
        solved = np.linalg.solve(across[gone], np.hstack([across.T, self.weight[gone]]))
        features = len(self.inverse)
        self.inverse -= across @ solved[:, :features]
        self.weight -= across @ solved[:, features:]
        self.here[gone] = False
        if np.count_nonzero(self.here) <= (1 - GONE) * features:
            self._shrink()

    def _shrink(self) -> None:
        """Leave out the features that are gone."""
        left = np.flatnonzero(self.here)
        places = np.cumsum(self.here) - 1  # of features that are gone nobody asks any more
        self.inverse = self.inverse[left[:, None], left]
        self.weight = self.weight[left]
        self.blocks = places[self.blocks]
        self.here = np.ones(len(left), dtype=bool)


def block_costs(inverse: FloatArray, weight: FloatArray, blocks: IntArray) -> FloatArray:
    """(blocks,) trace(W_b' (H^-1_bb)^-1 W_b).

    Args:
        inverse: (features, features) H^-1.
        weight: (features, outputs) W.
        blocks: (blocks, features of a block).
    """
    own = weight[blocks]
    squares = own @ own.transpose(0, 2, 1)
    inner = inverse[blocks[:, :, None], blocks[:, None, :]]
    found: FloatArray = np.trace(np.linalg.solve(inner, squares), axis1=1, axis2=2)
    return found


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


def _open(consumer: Consumer, index: IntArray) -> _State:
    features = len(consumer.mean)
    level = max(float(np.trace(consumer.covariance)) / features, 1e-30)
    damped = consumer.covariance + RIDGE * level * np.eye(features)
    blocks = np.stack([consumer.features(channels) for channels in index])
    weight = consumer.weight / np.sqrt(consumer.variance)
    return _State(inverse(damped), weight, blocks, np.ones(features, dtype=bool))


def inverse(matrix: FloatArray) -> FloatArray:
    """(n, n) the inverse of a positive definite matrix, by Cholesky; by LU where that fails."""
    from scipy.linalg.lapack import dpotrf, dpotri

    factor, failed = dpotrf(matrix, lower=True)  # zeros above the diagonal stay where they are
    half, singular = (factor, failed) if failed else dpotri(factor, lower=True, overwrite_c=True)
    if failed or singular:
        return np.asarray(np.linalg.inv(matrix), dtype=np.float64)
    whole: FloatArray = half + np.tril(half, -1).T
    return whole


REFIT = Criterion(
    "refit",
    "rise of the error of the layers that read a unit after their best re-fit (block OBS)",
    score,
    needs=("weights", "activations"),
)
