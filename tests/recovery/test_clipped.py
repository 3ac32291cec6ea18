from __future__ import annotations

from math import inf

import numpy as np
import pytest
from scipy.optimize import minimize

from onnxslim_snacs.layers.moments import moments
from onnxslim_snacs.recovery.clipped import refine
from onnxslim_snacs.recovery.regression import Regression, sums_of
from onnxslim_snacs.recovery.solve import Affine, over_features


def problem(low: float, high: float) -> Regression:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1, 800, 4)).astype(np.float32)
    t = (2 * x @ rng.standard_normal((4, 3)) + rng.standard_normal((1, 800, 3))).astype(np.float32)
    base = rng.standard_normal((1, 800, 3)).astype(np.float32)
    return Regression(x, t, base, 800, low, high)


def convex(regression: Regression, fit: Affine) -> float:
    """The convex loss that `refine` promises to lower."""
    v = regression.x @ fit.weight + fit.bias[:, None]
    u, s = v + regression.base, regression.t + regression.base
    missing = s - u
    missing = np.where(s <= regression.low, np.minimum(regression.low - u, 0), missing)
    missing = np.where(s >= regression.high, np.maximum(regression.high - u, 0), missing)
    return float((missing**2).mean())


@pytest.mark.parametrize(("low", "high"), [(0.0, inf), (0.0, 1.5)])
def test_refine_goes_to_the_minimum_of_the_convex_loss(low: float, high: float) -> None:
    regression = problem(low, high)
    seen = moments(sums_of(regression))
    equations = over_features(seen, np.zeros((1, 4, 3)))
    solve = equations.damped(1e-7)
    start = equations.fit(solve)

    def loss(flat: np.ndarray) -> float:
        return convex(regression, Affine(flat[:12].reshape(1, 4, 3), flat[12:].reshape(1, 3)))

    best = minimize(loss, np.r_[start.weight.ravel(), start.bias.ravel()], tol=1e-12).fun
    after = [convex(regression, refine(regression, seen, start, solve, n)) for n in (0, 10, 200)]
    assert after[0] == pytest.approx(convex(regression, start))
    assert after[1] < after[0]
    assert after[2] == pytest.approx(best, rel=1e-4)
    # the convex loss bounds the error behind the activation
    behind = np.clip(regression.t + regression.base, low, high).var(axis=1).mean()
    for fit in (start, refine(regression, seen, start, solve)):
        assert regression.error(fit) * behind <= convex(regression, fit)


def test_without_an_activation_least_squares_stays() -> None:
    regression = problem(-inf, inf)
    seen = moments(sums_of(regression))
    equations = over_features(seen, np.zeros((1, 4, 3)))
    solve = equations.damped(1e-7)
    start = equations.fit(solve)
    again = refine(regression, seen, start, solve)
    np.testing.assert_allclose(again.weight, start.weight, atol=1e-5)
    np.testing.assert_allclose(again.bias, start.bias, atol=1e-5)
