"""How much each group costs in error: measured curves that make scores of groups comparable.

A criterion orders the units of a group; how deep one may cut there is another question, and the
answer decides more than the order does.  So every group is cut alone to a few widths in its order,
the original's own output is the judge, and the slope of that curve per multiply-accumulate saved
replaces the scores: one global threshold on slopes is the Lagrange condition for the least sum of
errors at a given cost.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from onnxslim_snacs.ir.types import Group
from onnxslim_snacs.judge.error import Ask, ErrorJudge
from onnxslim_snacs.plan.kept import Kept, Scores

#: Shares of a group at which its curve is measured.
SHARES = (0.25, 0.5, 0.75)
#: A curve is not followed beyond this relative squared error of the output: that far, nobody cuts.
HOPELESS = 1.5


@dataclass(frozen=True, slots=True)
class Curve:
    """Error of the model's output when one group alone is cut.

    Attributes:
        removed: (points,) units removed, beginning with 0.
        error: (points,) relative squared error, non-decreasing.
    """

    removed: NDArray[np.int64]
    error: NDArray[np.float64]


def measure_curves(
    groups: Sequence[Group],
    scores: Scores,
    ask: Ask,
    progress: Callable[[int, int], None],
) -> dict[str, Curve]:
    """Cut every group alone to a few widths.

    Args:
        groups: what can be pruned.
        scores: the order in which units go.
        ask: asks a judge of end-to-end errors.
        progress: told (groups done, groups in all).
    """
    curves: dict[str, Curve] = {}
    for group, curve in zip(
        groups, ask(partial(judged, g, scores[g.id]) for g in groups), strict=True
    ):
        progress(len(curves), len(groups))
        curves[group.id] = curve
    progress(len(groups), len(groups))
    return curves


def judged(group: Group, scores: NDArray[np.float64], judge: ErrorJudge) -> Curve:
    """The curve of a group by a judge, see `measure_curve`."""
    return measure_curve(group, scores, judge.error)


def measure_curve(
    group: Group, scores: NDArray[np.float64], error: Callable[[Kept], float]
) -> Curve:
    """Cut one group alone to a few widths, in the order of its scores.

    Args:
        group: the group.
        scores: (units,), of which the lowest go first.
        error: decision -> error of the outputs; asked no more once that is hopeless.
    """
    order = np.argsort(scores, kind="stable")
    counts = sorted({round(share * group.units) for share in SHARES} - {0, group.units})
    removed, errors = [0], [0.0]
    for count in counts:
        stays = np.ones(group.units, dtype=bool)
        stays[order[:count]] = False
        removed.append(count)
        errors.append(max(errors[-1], error({group.id: stays})))
        if errors[-1] > HOPELESS:
            break
    return Curve(np.array(removed), np.array(errors))


def calibrated(
    groups: Sequence[Group],
    scores: Scores,
    curves: Mapping[str, Curve],
    saved: Mapping[str, float],
) -> dict[str, NDArray[np.float64]]:
    """Scores in one unit for all groups: rise of the error per unit of cost saved.

    Args:
        groups: what can be pruned.
        scores: the order within each group.
        curves: measured curves.
        saved: group id -> cost that one of its units saves on average.

    Returns:
        group id -> (units,) slope of the curve's lower convex hull at each unit's rank; the order
        within a group is that of `scores`.
    """
    found = {}
    for group in groups:
        slope = hull_slopes(curves[group.id], group.units)
        # ranks break ties within a segment, so that the order of the criterion is kept
        rank = np.argsort(np.argsort(scores[group.id], kind="stable"), kind="stable")
        nudge = 1e-9 * (1 + np.arange(group.units))
        found[group.id] = ((slope + nudge) / max(saved[group.id], 1e-12))[rank]
    return found


def hull_slopes(curve: Curve, units: int) -> NDArray[np.float64]:
    """(units,) slope of the lower convex hull of a curve at each rank, non-decreasing.

    Beyond the last measured point a curve goes on with its steepest slope, doubled.
    """
    x, y = curve.removed.astype(np.float64), curve.error
    hull = [0]
    for point in range(1, len(x)):
        while len(hull) > 1 and _above(x, y, hull[-2], hull[-1], point):
            hull.pop()
        hull.append(point)
    slopes = np.diff(y[hull]) / np.diff(x[hull])
    steep = 2.0 * slopes[-1] + 1e-6 if len(slopes) else 1.0
    result = np.full(units, steep)
    for (start, stop), slope in zip(zip(x[hull], x[hull][1:], strict=False), slopes, strict=True):
        result[int(start) : int(stop)] = slope
    return result


def _above(
    x: NDArray[np.float64], y: NDArray[np.float64], first: int, middle: int, last: int
) -> bool:
    """Whether the middle point lies on or above the line through its neighbours."""
    line = y[first] + (y[last] - y[first]) * (x[middle] - x[first]) / (x[last] - x[first])
    return bool(y[middle] >= line)
