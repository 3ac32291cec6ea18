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
    """A reader while its channels go: a block Cholesky factorisation of H^-1 that costs pivot.

    With F the rows of the factor that the features gone have left behind, the inverse of those left
    is start - F' F, of which only the blocks of single units and the columns of those that go are
    ever formed: a third of the work of keeping all of it.

    Attributes:
        start: (all features, all features) the inverse before anything has gone.
        places: (features,) of those that are left, and of some that are gone, in `start`.
        factor: (all features, features) F, of which the first `used` rows are there.
        used: how many features have gone.
        own: (units, features of a unit, features of a unit) each unit's block of the inverse.
        weight: (features, outputs) re-fitted, relative to the spread of the output.
        blocks: (units, features of a unit) places among `places`.
        here: (features,) whether each is left.
    """

    start: FloatArray
    places: IntArray
    factor: FloatArray
    used: int
    own: FloatArray
    weight: FloatArray
    blocks: IntArray
    here: BoolArray

    def costs(self, units: IntArray) -> FloatArray:
        """(units,) rise of the relative squared error when each unit alone goes next."""
        return block_costs(self.own[units], self.weight[self.blocks[units]])

    def take(self, units: IntArray) -> None:
        """Remove units, (units,) their positions, and re-fit what reads the others."""
        gone = self.blocks[units].reshape(-1)
        features = len(self.places)
        done = self.factor[: self.used]
        across = self.start[self.places[:, None], self.places[gone]] - done.T @ done[:, gone]
        solved = np.linalg.solve(_root(across[gone]), np.hstack([across.T, self.weight[gone]]))
        rows = solved[:, :features]
        self.weight -= rows.T @ solved[:, features:]
        parts = rows.T[self.blocks]
        self.own -= parts @ parts.transpose(0, 2, 1)
        self.factor[self.used : self.used + len(gone)] = rows
        self.used += len(gone)
        self.here[gone] = False
        if np.count_nonzero(self.here) <= (1 - GONE) * features:
            self._shrink()

    def _shrink(self) -> None:
        """Leave out the features that are gone."""
        left = np.flatnonzero(self.here)
        places = np.cumsum(self.here) - 1  # of features that are gone nobody asks any more
        self.places = self.places[left]
        rows = np.empty((len(self.factor), len(left)))
        np.take(self.factor[: self.used], left, axis=1, out=rows[: self.used])
        self.factor = rows
        self.weight = self.weight[left]
        self.blocks = places[self.blocks]
        self.here = np.ones(len(left), dtype=bool)


def _root(block: FloatArray) -> FloatArray:
    """R with R R' = block; rounding may have left eigenvalues that are not positive."""
    try:
        return np.asarray(np.linalg.cholesky(block), dtype=np.float64)
    except np.linalg.LinAlgError:
        values, vectors = np.linalg.eigh(block)
        return np.asarray(vectors * np.sqrt(np.maximum(values, 1e-12 * values[-1])))


def own_blocks(inverse: FloatArray, blocks: IntArray) -> FloatArray:
    """(blocks, features of a block, features of a block) the blocks H^-1_bb of H^-1.

    Args:
        inverse: (features, features) H^-1.
        blocks: (blocks, features of a block).
    """
    found: FloatArray = inverse[blocks[:, :, None], blocks[:, None, :]]
    return found


def block_costs(own: FloatArray, weight: FloatArray) -> FloatArray:
    """(blocks,) trace(W_b' (H^-1_bb)^-1 W_b).

    Args:
        own: (blocks, features of a block, features of a block) H^-1_bb, see `own_blocks`.
        weight: (blocks, features of a block, outputs) W_b.
    """
    squares = weight @ weight.transpose(0, 2, 1)
    found: FloatArray = np.trace(np.linalg.solve(own, squares), axis1=1, axis2=2)
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
    start = inverse(damped)
    return _State(
        start=start,
        places=np.arange(features),
        factor=np.empty((features, features)),
        used=0,
        own=own_blocks(start, blocks),
        weight=weight,
        blocks=blocks,
        here=np.ones(features, dtype=bool),
    )


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
