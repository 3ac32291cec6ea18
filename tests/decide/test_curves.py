"""Slopes of error curves, worked out by hand."""

from __future__ import annotations

import numpy as np

from onnxslim_snacs.decide.curves import Curve, calibrated, hull_slopes, measure_curve
from onnxslim_snacs.decide.slopes import curve_samples
from onnxslim_snacs.ir.types import Axis, Group, GroupAxis
from onnxslim_snacs.plan.kept import Kept

GROUP = Group("g", "w[0]", 8, (GroupAxis(Axis("w", 0), np.arange(8)[:, None]),))
SCORES = np.array([5.0, 1.0, 7.0, 3.0, 0.0, 6.0, 2.0, 4.0])


def test_a_curve_removes_the_lowest_scores_first() -> None:
    seen: list[list[int]] = []

    def error(kept: Kept) -> float:
        seen.append(np.flatnonzero(~kept["g"]).tolist())
        return 0.1 * len(seen[-1])

    curve = measure_curve(GROUP, SCORES, error)
    assert seen == [[1, 4], [1, 3, 4, 6], [0, 1, 3, 4, 6, 7]]
    assert curve.removed.tolist() == [0, 2, 4, 6]
    np.testing.assert_allclose(curve.error, [0.0, 0.2, 0.4, 0.6])


def test_slopes_are_those_of_the_lower_hull() -> None:
    curve = Curve(np.array([0, 2, 4, 6]), np.array([0.0, 0.3, 0.4, 1.0]))
    # (2, 0.3) lies above the line from (0, 0) to (4, 0.4); beyond 6: twice the last slope
    np.testing.assert_allclose(
        hull_slopes(curve, 8), [0.1, 0.1, 0.1, 0.1, 0.3, 0.3, 0.6, 0.6], atol=2e-6
    )


def test_calibrated_scores_keep_the_order_and_count_the_rise_per_cost() -> None:
    curve = Curve(np.array([0, 4, 6]), np.array([0.0, 0.4, 1.0]))
    slopes = calibrated([GROUP], {"g": SCORES}, {"g": curve}, {"g": 0.5})["g"]
    np.testing.assert_array_equal(np.argsort(slopes), np.argsort(SCORES))
    np.testing.assert_allclose(np.sort(slopes)[:6], [0.2] * 4 + [0.6] * 2, atol=1e-5)


def test_heavy_models_are_measured_on_fewer_samples() -> None:
    assert [curve_samples(macs) for macs in (0, 10**6, 2 * 10**8, 4 * 10**9)] == [32, 32, 21, 8]
