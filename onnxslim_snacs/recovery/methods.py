"""The methods of recovery: what is fitted to the rows that a layer reads, in closed form.

Bias: the mean of every output channel (method 4.5).  Statistics: mean and variance (4.5; REPAIR).
Least squares: weights and bias anew (4.1, 4.3).
"""

from collections.abc import Sequence
from functools import partial
from math import inf
from typing import NamedTuple

import numpy as np

from onnxslim_snacs.arithmetic.kernels import Solver
from onnxslim_snacs.layers.moments import moments
from onnxslim_snacs.recovery.clipped import refine
from onnxslim_snacs.recovery.effort import Effort
from onnxslim_snacs.recovery.jobs import Cut, Method, Recovered
from onnxslim_snacs.recovery.kernel import over_rows
from onnxslim_snacs.recovery.recover import recover
from onnxslim_snacs.recovery.regression import Regression, sums_of
from onnxslim_snacs.recovery.solve import (
    Affine,
    Equations,
    over_features,
    with_mean,
    with_statistics,
)


def recover_least_squares(cut: Cut) -> Recovered:
    """Re-fit every layer whose input the cut has changed."""
    return recover(cut, least_squares_method(cut.effort))


def least_squares_method(effort: Effort) -> Method:
    """Least squares, refined as far as the effort says."""
    return Method(partial(_refitted, effort=effort), wide=True, sums=True)


#: Rows for each feature below which what an activation leaves free is fitted to chance: with
#: 16, 12 of 15 layers of ResNet-20 came out worse on held-out rows, with 32 8, with 64 2 of 11.
ENOUGH = 32
#: Outputs of a layer by whose error its ridge is chosen: of wide layers some stand for all.
TELLING = 64


def _refitted(rows: Regression, now: Affine, effort: Effort) -> Affine:
    """The best ridge on held-out rows, then what an activation behind it leaves free."""
    fitted, judged = rows.fitted, rows.held
    if len(rows.x) == 1 and rows.fit < rows.x.shape[2]:
        few = over_rows(fitted, now)
        best = _judged(few.fit(_solver(few, judged, effort.ridges)), judged)
        return _better(best, _judged(few.shifted(), judged)).fit
    seen = moments(sums_of(fitted))
    equations = over_features(seen, now.weight)
    solve = _solver(equations, judged, effort.ridges)
    best = _judged(equations.fit(solve), judged)
    enough = rows.fit >= ENOUGH * rows.x.shape[2]
    if effort.steps and rows.clips and len(rows.x) == 1 and enough:
        finer = refine(fitted, seen, best.fit, solve, effort.steps)
        best = _better(best, _judged(finer, judged))
    return _better(best, _judged(equations.shifted(), judged)).fit


class _Judged(NamedTuple):
    """A fit and its error on held-out rows."""

    error: float
    fit: Affine


def _judged(fit: Affine, rows: Regression) -> _Judged:
    return _Judged(rows.error(fit), fit)


def _better(first: _Judged, second: _Judged) -> _Judged:
    return second if second.error < first.error else first


def _solver(equations: Equations, judged: Regression, ridges: Sequence[float]) -> Solver:
    """That of the ridge beside which the error rises, from the middle one downhill."""
    if len(ridges) == 1:
        return equations.damped(ridges[0])
    outputs = judged.t.shape[2]
    some = np.unique(np.linspace(0, outputs - 1, min(outputs, TELLING)).round().astype(np.intp))
    told = judged.of_outputs(some)
    tried: dict[int, float] = {}
    best: Solver | None = None

    def error(place: int) -> float:
        nonlocal best
        if not 0 <= place < len(ridges):
            return inf
        if place not in tried:
            solve = equations.damped(ridges[place])
            found = told.error(equations.fit(solve, some))
            if found < min(tried.values(), default=inf):
                best = solve  # the others go: each is as large as the equations
            tried[place] = found
        return tried[place]

    place = len(ridges) // 2
    way = -1 if error(place - 1) < error(place) else 1
    while error(place + way) < error(place):
        place += way
    return equations.damped(ridges[place]) if best is None else best


def recover_statistics(cut: Cut) -> Recovered:
    """Scale and shift the outputs of every layer whose input the cut has changed."""
    return recover(cut, Method(_rescaled, wide=False, sums=False))


def _rescaled(rows: Regression, now: Affine) -> Affine:
    seen, judged = moments(sums_of(rows.fitted)), rows.held
    tried = (with_statistics(seen, now.weight), with_mean(seen, now.weight))
    return min(tried, key=judged.error)


def recover_bias(cut: Cut) -> Recovered:
    """Correct the bias of every layer whose input the cut has changed."""
    return recover(cut, Method(_shifted, wide=False, sums=True))


def _shifted(rows: Regression, now: Affine) -> Affine:
    return with_mean(moments(sums_of(rows.fitted)), now.weight)
