"""The methods of recovery: what is fitted to the rows that a layer reads, in closed form.

Bias: the mean of every output channel (method 4.5).  Statistics: mean and variance (4.5; REPAIR).
Least squares: weights and bias anew (4.1, 4.3).
"""

from collections.abc import Callable, Sequence
from functools import partial
from math import inf
from typing import NamedTuple

from onnxslim_snacs.layers.moments import moments
from onnxslim_snacs.recovery.clipped import refine
from onnxslim_snacs.recovery.effort import Effort
from onnxslim_snacs.recovery.jobs import Cut, Method, Recovered
from onnxslim_snacs.recovery.kernel import FEATURES, over_rows
from onnxslim_snacs.recovery.recover import recover
from onnxslim_snacs.recovery.regression import Regression, sums_of
from onnxslim_snacs.recovery.solve import Affine, Solver, ridge_path, with_mean, with_statistics


def recover_least_squares(cut: Cut) -> Recovered:
    """Re-fit every layer whose input the cut has changed."""
    return recover(cut, least_squares_method(cut.effort))


def least_squares_method(effort: Effort) -> Method:
    """Least squares, refined as far as the effort says."""
    return Method(partial(_refitted, effort=effort), wide=True, sums=True)


def _refitted(rows: Regression, now: Affine, effort: Effort) -> Affine:
    """The best ridge on held-out rows, then what an activation behind it leaves free."""
    fitted, judged = rows.fitted, rows.held
    if rows.x.shape[2] > FEATURES and len(rows.x) == 1:
        return min(map(over_rows(fitted, now), effort.ridges), key=judged.error)
    seen = moments(sums_of(fitted))
    best, solve = _best_ridge(ridge_path(seen, now.weight), judged, effort.ridges)
    if effort.steps and rows.clips and len(rows.x) == 1:
        finer = refine(fitted, seen, best.fit, solve, effort.steps)
        best = _better(best, _judged(finer, judged))
    return _better(best, _judged(with_mean(seen, now.weight), judged)).fit


class _Judged(NamedTuple):
    """A fit and its error on held-out rows."""

    error: float
    fit: Affine


def _judged(fit: Affine, rows: Regression) -> _Judged:
    return _Judged(rows.error(fit), fit)


def _better(first: _Judged, second: _Judged) -> _Judged:
    return second if second.error < first.error else first


def _best_ridge(
    path: Callable[[float], tuple[Affine, Solver]], judged: Regression, ridges: Sequence[float]
) -> tuple[_Judged, Solver]:
    """The fit beyond which the error rises on either side, from the middle ridge downhill."""
    tried: dict[int, float] = {}
    best: tuple[_Judged, Solver] | None = None

    def error(place: int) -> float:
        nonlocal best
        if not 0 <= place < len(ridges):
            return inf
        if place not in tried:
            fit, solve = path(ridges[place])
            found = _judged(fit, judged)
            tried[place] = found.error
            if best is None or found.error < best[0].error:  # the others are as large as it is
                best = found, solve
        return tried[place]

    place = len(ridges) // 2
    way = -1 if error(place - 1) < error(place) else 1
    while error(place + way) < error(place):
        place += way
    assert best is not None
    return best


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
