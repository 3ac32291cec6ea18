"""Channel pruning by LASSO (He, Zhang, Sun 2017, section 3.1; method 7.3).

Gains b on the channels are to reproduce the next layer's output with few that are not zero:
b'M b / 2 - (M 1)'b + lambda |b|_1, M the second moments of what each unit adds.  The paper raises
lambda until as few are left as it wants; a unit's score is the largest lambda, relative to the
least that lets nothing in, at which its gain is not zero.  Those that never come in follow by
their own size.  All lambdas are solved at once, by alternating directions (Boyd et al. 2011, 6.4).
"""

from __future__ import annotations

import numpy as np

from onnxslim_snacs.layers.consumers import readers_of
from onnxslim_snacs.layers.moments import FloatArray
from onnxslim_snacs.scores.criterion import Criterion, Option, ScoreContext, ScoreResult
from onnxslim_snacs.scores.fallback import completed
from onnxslim_snacs.scores.of_readers import MOMENTS, NO_READERS
from onnxslim_snacs.scores.parts import at_least
from onnxslim_snacs.scores.refit import moments_for
from onnxslim_snacs.scores.thinet import joint_contributions

#: Values of lambda, down to this share of the largest.
LAMBDAS, LEAST = 96, 1e-4
#: Steps at the most, and the change by which they end, relative to the largest gain.
_STEPS, _NEAR = 3000, 1e-7
#: Over-relaxation.
_RELAXED = 1.6


def score(context: ScoreContext, moments: str = "second", lambdas: int = LAMBDAS) -> ScoreResult:
    """Largest relative lambda at which each unit's gain is not zero."""
    consumers = moments_for(context)
    groups = context.analysis.ir.groups
    found = {}
    for number, group in enumerate(groups):
        context.progress("lasso", number, len(groups))
        readers = readers_of(group, consumers)
        if readers:
            found[group.id] = entries(joint_contributions(readers, moments), lambdas)
    context.progress("lasso", len(groups), len(groups))
    return completed(context, found, NO_READERS)


def entries(matrix: FloatArray, lambdas: int = LAMBDAS) -> FloatArray:
    """(units,) in [0, 1]: when each unit comes in, as lambda falls.

    Among units that come in between the same two lambdas, and among those that never do, the
    larger come first.

    Args:
        matrix: (units, units) M.
        lambdas: how many values.
    """
    target = matrix.sum(axis=1)
    top = float(np.abs(target).max())
    if top <= 0.0:
        return np.zeros(len(matrix))
    levels = np.geomspace(1.0, LEAST, lambdas + 1)[1:]
    gains = np.abs(lasso(matrix, target, top * levels))
    inside = gains > 1e-6 * max(float(gains.max()), 1e-30)
    first = np.where(inside.any(axis=1), inside.argmax(axis=1), lambdas)
    edges = np.append(levels, [0.0, 0.0])
    there = np.append(gains, np.zeros((len(gains), 1)), axis=1)
    there[:, -1] = np.sqrt(np.maximum(np.diag(matrix), 0.0))
    size = there[np.arange(len(gains)), first]
    largest = np.zeros(lambdas + 1)
    np.maximum.at(largest, first, size)
    share = size / np.where(largest == 0.0, 1.0, largest)[first]
    # a unit that never comes in has less than the last lambda, and at least nothing
    upper = np.where(first < lambdas, np.append(1.0, levels)[first], levels[-1] / 2.0)
    lower = edges[first]
    found: FloatArray = lower + (upper - lower) * share / 2.0
    return found


def lasso(matrix: FloatArray, target: FloatArray, levels: FloatArray) -> FloatArray:
    """(units, levels) the b that minimises b'M b / 2 - target'b + lambda |b|_1 for each lambda.

    Args:
        matrix: (units, units) M, positive semi-definite.
        target: (units,).
        levels: (levels,) lambda.
    """
    values, vectors = np.linalg.eigh(matrix)
    values = np.maximum(values, 0.0)
    weight = float(np.sqrt(max(values.max(), 1e-30) * max(np.median(values), 1e-4 * values.max())))
    solve = (vectors / (values + weight)) @ vectors.T
    gains = np.zeros((len(matrix), len(levels)))
    prices = np.zeros_like(gains)
    start = (solve @ target)[:, None]
    for _ in range(_STEPS):
        smooth = start + weight * (solve @ (gains - prices))
        mixed = _RELAXED * smooth + (1.0 - _RELAXED) * gains
        moved = mixed + prices
        fresh = np.sign(moved) * np.maximum(np.abs(moved) - levels / weight, 0.0)
        change = float(np.abs(fresh - gains).max())
        apart = float(np.abs(smooth - fresh).max())
        prices += mixed - fresh
        gains = fresh
        if max(change, apart) <= _NEAR * max(float(np.abs(gains).max()), 1e-12):
            break
    return gains


HE2017 = Criterion(
    "he2017",
    "when a unit's gain leaves zero in the LASSO on the layers that read it (He et al. 2017)",
    score,
    needs=("weights", "activations"),
    options=(MOMENTS, Option("lambdas", at_least(2), "values of lambda that are tried")),
)
