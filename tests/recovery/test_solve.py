"""Closed forms against brute force."""

from __future__ import annotations

import numpy as np
import pytest

from onnxslim_snacs.layers.moments import FloatArray, Moments, Rows, moments
from onnxslim_snacs.recovery.effort import LIGHT, WHOLE
from onnxslim_snacs.recovery.kernel import over_rows
from onnxslim_snacs.recovery.methods import least_squares_method
from onnxslim_snacs.recovery.regression import Regression, sums_of
from onnxslim_snacs.recovery.solve import Affine, least_squares, with_mean, with_statistics


def rows(n: int, d: int, o: int, groups: int = 1, seed: int = 0) -> tuple[Rows, Rows]:
    """Correlated features with means far from zero, and noisy targets."""
    rng = np.random.default_rng(seed)
    mix = rng.standard_normal((groups, d, d))
    x = rng.standard_normal((groups, n, d)) @ mix + 5 * rng.standard_normal((groups, 1, d))
    t = np.tanh(x @ rng.standard_normal((groups, d, o))) + rng.standard_normal((groups, n, o))
    return x.astype(np.float32), (t + 3).astype(np.float32)


def regression(x: Rows, t: Rows) -> Regression:
    base = np.zeros((len(x), 1, t.shape[2]), dtype=np.float32)
    return Regression(x, t, base, x.shape[1])


def explicit(x: Rows, t: Rows) -> tuple[FloatArray, FloatArray]:
    """Least squares with an intercept, group by group."""
    solved = []
    for a, b in zip(x.astype(np.float64), t.astype(np.float64), strict=True):
        solved.append(np.linalg.lstsq(np.c_[a, np.ones(len(a))], b, rcond=None)[0])
    whole = np.stack(solved)
    return whole[:, :-1], whole[:, -1]


def moments_of(x: Rows, t: Rows) -> Moments:
    return moments(sums_of(regression(x, t)))


@pytest.mark.parametrize("groups", [1, 3])
def test_least_squares_is_what_lstsq_finds(groups: int) -> None:
    x, t = rows(20_000, 7, 4, groups)
    found = least_squares(moments_of(x, t), np.zeros((groups, 7, 4)), 1e-12)
    weight, bias = explicit(x, t)
    np.testing.assert_allclose(found.weight, weight, atol=1e-4 * np.abs(weight).max())
    np.testing.assert_allclose(found.bias, bias, atol=1e-4 * np.abs(bias).max())


@pytest.mark.parametrize("ridge", [1e-3, 1.0])
def test_the_ridge_pulls_towards_the_given_weights(ridge: float) -> None:
    x, t = rows(500, 6, 3)
    given = np.random.default_rng(1).standard_normal((1, 6, 3))
    seen = moments_of(x, t)
    found = least_squares(seen, given, ridge)
    # stationary point of  mean |t - x w - b|^2 + lambda |w - given|^2
    level = ridge * np.trace(seen.xx[0]) / 6
    slope = seen.xx[0] @ found.weight[0] - seen.xt[0] + level * (found.weight[0] - given[0])
    np.testing.assert_allclose(slope, 0, atol=1e-9 * np.abs(seen.xt).max())
    far = least_squares(seen, given, 1e12)
    np.testing.assert_allclose(far.weight, with_mean(seen, given).weight, atol=1e-9)


def test_a_singular_gram_matrix_is_no_obstacle() -> None:
    x, t = rows(300, 5, 2)
    x = np.concatenate([x, x, np.ones_like(x[..., :1])], axis=2)
    found = least_squares(moments_of(x, t), np.zeros((1, 11, 2)), 0.0)
    weight, bias = explicit(x[..., :5], t)
    best = ((t - x[..., :5] @ weight - bias[:, None]) ** 2).mean()
    assert ((t - x @ found.weight - found.bias[:, None]) ** 2).mean() <= best * (1 + 1e-4)


def test_removal_with_refit_is_the_optimal_brain_surgeon() -> None:
    """Delta W = -W_R ((H^-1)_RR)^-1 (H^-1)_R,: for the layer's own outputs as targets."""
    x, _ = rows(4000, 8, 1)
    full = np.random.default_rng(2).standard_normal((8, 3))
    t = x[0].astype(np.float64) @ full
    gone, stays = np.array([1, 4]), np.array([0, 2, 3, 5, 6, 7])
    seen = moments_of(x[..., stays], t[None].astype(np.float32))
    found = least_squares(seen, np.zeros((1, 6, 3)), 1e-12).weight[0]
    inverse = np.linalg.inv(np.cov(x[0].astype(np.float64).T, bias=True))
    surgeon = full - inverse[:, gone] @ np.linalg.solve(inverse[np.ix_(gone, gone)], full[gone])
    np.testing.assert_allclose(surgeon[gone], 0, atol=1e-9)
    np.testing.assert_allclose(found, surgeon[stays], atol=2e-3)


def test_over_rows_equals_over_features() -> None:
    x, t = rows(40, 9, 3)
    now = Affine(np.random.default_rng(3).standard_normal((1, 9, 3)), np.zeros((1, 3)))
    for ridge in (1e-3, 1e-1):
        a = least_squares(moments_of(x, t), now.weight, ridge)
        equations = over_rows(regression(x, t), now)
        b = equations.fit(equations.damped(ridge))
        np.testing.assert_allclose(a.weight, b.weight, atol=1e-4)
        np.testing.assert_allclose(a.bias, b.bias, atol=1e-3)
        some = equations.fit(equations.damped(ridge), np.array([2, 0]))
        np.testing.assert_array_equal(some.weight, b.weight[:, :, [2, 0]])
        np.testing.assert_array_equal(some.bias, b.bias[:, [2, 0]])
    mean = with_mean(moments_of(x, t), now.weight)
    np.testing.assert_allclose(equations.shifted().bias, mean.bias, atol=1e-5)


def test_over_rows_with_a_ridge_below_rounding() -> None:
    rng = np.random.default_rng(7)
    x = rng.standard_normal((1, 6, 20_000)).astype(np.float32).repeat(2, axis=1)  # rows come twice
    t = rng.standard_normal((1, 6, 2)).astype(np.float32).repeat(2, axis=1)
    now = Affine(np.zeros((1, 20_000, 2)), np.zeros((1, 2)))
    equations = over_rows(regression(x, t), now)
    found = equations.fit(equations.damped(1e-9))
    np.testing.assert_allclose(x[0] @ found.weight[0] + found.bias[0], t[0], atol=1e-3)


def test_mean_and_statistics_are_met() -> None:
    x, t = rows(3000, 5, 4, 2)
    given = np.random.default_rng(4).standard_normal((2, 5, 4))
    seen = moments_of(x, t)
    for fit in (with_mean(seen, given), with_statistics(seen, given)):
        y = x.astype(np.float64) @ fit.weight + fit.bias[:, None]
        np.testing.assert_allclose(y.mean(axis=1), t.mean(axis=1), rtol=1e-4)
    np.testing.assert_allclose(y.std(axis=1), t.std(axis=1), rtol=1e-4)


def test_moments_do_not_lose_what_hardly_varies() -> None:
    rng = np.random.default_rng(5)
    x = (1000 + 1e-2 * rng.standard_normal((1, 50_000, 3))).astype(np.float32)
    seen = moments_of(x, x[..., :1])
    exact = np.cov(x[0].astype(np.float64).T, bias=True)
    np.testing.assert_allclose(seen.xx[0], exact, atol=1e-4 * exact.max())


def test_a_regression_of_fewer_rows_than_features_is_that_of_more() -> None:
    """Of 60 features and 40 rows to fit, beside the equations over pairs of features."""
    rng = np.random.default_rng(8)
    x = rng.standard_normal((1, 50, 60)).astype(np.float32)
    t = (x[0] @ rng.standard_normal((60, 3)))[None].astype(np.float32)
    few = Regression(x, t, np.zeros((1, 1, 3), dtype=np.float32), 40)
    now = Affine(np.zeros((1, 60, 3)), np.zeros((1, 3)))
    found = least_squares_method(LIGHT).fit(few, now)
    wanted = least_squares(moments_of(x[:, :40], t[:, :40]), now.weight, LIGHT.ridges[0])
    np.testing.assert_allclose(found.weight, wanted.weight, atol=1e-3)
    assert few.held.error(found) < few.held.error(now)


def test_the_ridge_of_many_outputs_is_chosen_by_some_and_serves_all() -> None:
    x, t = rows(600, 8, 200)
    noisy = t + np.random.default_rng(9).standard_normal(t.shape).astype(np.float32)
    whole = Regression(x, noisy, np.zeros((1, 1, 200), dtype=np.float32), 400)
    now = Affine(np.zeros((1, 8, 200)), np.zeros((1, 200)))
    found = least_squares_method(WHOLE).fit(whole, now)
    seen = moments_of(x[:, :400], noisy[:, :400])
    tried = [least_squares(seen, now.weight, ridge) for ridge in WHOLE.ridges]
    errors = [whole.held.error(fit) for fit in tried]
    assert whole.held.error(found) == pytest.approx(min(errors), rel=1e-3)
    assert any(np.array_equal(found.weight, fit.weight) for fit in tried)
