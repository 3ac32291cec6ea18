from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from scipy import integrate, special, stats

from onnxslim_snacs.scores.snacs import residual
from onnxslim_snacs.scores.snacs.acmi import HashOptions, acmi_hash
from onnxslim_snacs.scores.snacs.gaussian import (
    gaussian_information,
    henze_penrose,
    partial_correlation,
)
from onnxslim_snacs.scores.snacs.hashing import standardised_rows
from onnxslim_snacs.scores.snacs.linear import (
    conditional_copies,
    fitted_parents,
    shuffled_remainders,
)
from onnxslim_snacs.scores.snacs.residual import acmi_residual

FloatArray = npt.NDArray[np.float64]


def henze_penrose_by_quadrature(correlation: float) -> float:
    """E[tanh(log(t)/2)] with the Bessel density of the product of two normals."""
    shift = -0.5 * np.log1p(-(correlation**2))

    def integrand(s: float) -> float:
        both = np.tanh((shift + correlation * s) / 2) + np.tanh((shift - correlation * s) / 2)
        return float(both * special.k0(s) / np.pi)

    near, _ = integrate.quad(integrand, 0, 1)
    far, _ = integrate.quad(integrand, 1, 60, limit=200)
    return float(near + far)


@pytest.mark.parametrize("correlation", [0.0, 0.05, 0.3, 0.6, -0.9, 0.99, 0.9999])
def test_closed_form_of_a_gaussian_pair(correlation: float) -> None:
    expected = henze_penrose_by_quadrature(abs(correlation))
    assert henze_penrose(np.array(correlation)) == pytest.approx(expected, abs=2e-5)


def test_closed_form_ends() -> None:
    assert henze_penrose(np.array([0.0, 1.0, -1.0])) == pytest.approx([0, 1, 1], abs=1e-6)


@pytest.mark.parametrize("kinds", [2, 4, 8, 32])
def test_equal_variables_on_k_cells(kinds: int) -> None:
    values = np.tile(np.arange(kinds), 125)[:, None].astype(float)
    full, _ = acmi_hash(values, values, HashOptions(buckets=kinds))
    edges, _ = acmi_hash(values, values, HashOptions(buckets=kinds, form="edges"))
    assert full[0, 0] == pytest.approx(1 - 2 / (kinds + 1), abs=1e-6)
    released = (kinds - 1) ** 2 / (2 * kinds * (kinds + 1))
    assert edges[0, 0] == pytest.approx(released, abs=1e-6)


def confounded(samples: int, parents: int, seed: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Parents with eight common causes, and children that read half of them."""
    rng = np.random.default_rng(seed)
    causes = rng.standard_normal((samples, 8)) @ rng.standard_normal((8, parents))
    y = np.maximum(causes + rng.standard_normal((samples, parents)), 0)
    weights = rng.standard_normal((40, parents)) * (rng.random((40, parents)) < 0.5)
    x = y @ weights.T
    return x + 0.15 * x.std(axis=0) * rng.standard_normal(x.shape), y, weights


@pytest.mark.parametrize(("samples", "parents"), [(2000, 16), (500, 64), (2000, 64), (2000, 256)])
def test_confounding_is_no_signal(samples: int, parents: int) -> None:
    shares = []
    for seed in range(4):
        x, y, weights = confounded(samples, parents, seed)
        information, quality = acmi_residual(x, y)
        shares.append(np.mean(information[weights == 0] > quality.null_q95))
        assert quality.carries_signal
    assert np.mean(shares) == pytest.approx(0.05, abs=0.01)


def test_hashed_conditioning_has_a_conditional_null_as_well() -> None:
    x, y, weights = confounded(2000, 64, 0)
    information, quality = acmi_hash(x, y, HashOptions(draws=1))
    assert np.mean(information[weights == 0] > quality.null_q95) < 0.06


def test_wide_layers_show_their_weights_in_the_remainders() -> None:
    rng = np.random.default_rng(0)
    causes = rng.standard_normal((2000, 20)) @ rng.standard_normal((20, 512))
    y = np.maximum(causes + 2.0 * rng.standard_normal((2000, 512)), 0.0)
    weights = rng.standard_normal((64, 512))
    x = y @ weights.T
    size = np.abs(weights).ravel()
    information, _ = acmi_residual(x, y)
    assert stats.spearmanr(information.ravel(), size).statistic > 0.95
    hashed, _ = acmi_hash(x, y)
    assert stats.spearmanr(hashed.ravel(), size).statistic < 0.2


def test_remainders_are_those_of_a_linear_fit() -> None:
    _, y = gaussian_layer(400)
    parents = fitted_parents(standardised_rows(y), ridge=0.0)
    others = np.column_stack([np.ones(400), np.delete(y, 2, axis=1)])
    mine = standardised_rows(y)[2].astype(float)
    left = mine - others @ np.linalg.lstsq(others, mine, rcond=None)[0]
    assert parents.left[2] == pytest.approx(left, abs=1e-5)
    rng = np.random.default_rng(0)
    again = shuffled_remainders(parents, rng)[2]
    assert np.abs(others.T @ again).max() < 1e-3 * 400
    copies = conditional_copies(parents, np.arange(6), rng)
    fit = others @ np.linalg.lstsq(others, mine, rcond=None)[0]
    assert np.sort(copies[2] - fit) == pytest.approx(np.sort(left), abs=1e-4)
    assert not np.allclose(copies[2] - fit, left, atol=1e-2)


@pytest.mark.parametrize("starts", [None, np.array([0, 7, 30])])
def test_fewer_samples_than_parents_give_the_same_fit(starts: np.ndarray | None) -> None:
    y = np.random.default_rng(3).standard_normal((12, 40))
    y[:, 5] = 1.0  # a dead channel
    rows = standardised_rows(y)
    parents = fitted_parents(rows, starts, ridge=0.2)
    values = rows.astype(float)
    inverse = np.linalg.inv(0.8 * values @ values.T / 12 + np.diag(np.where(y.std(0) > 0, 0.2, 1)))
    assert parents.whole == pytest.approx(inverse @ values, abs=1e-6)
    assert parents.precision == pytest.approx(np.diag(inverse), rel=1e-6)
    first = slice(0, 1 if starts is None else 7)
    wanted = np.linalg.solve(inverse[first, first], (inverse @ values)[first])
    assert parents.left[first] == pytest.approx(wanted, abs=1e-6)
    order = np.random.default_rng(0).random((40, 12), dtype=np.float32).argsort(axis=1)
    moved = np.take_along_axis(parents.left, order, axis=1)
    fit = (moved @ values.T / 12) @ inverse
    rest = moved - fit @ values + np.diag(fit)[:, None] * parents.left
    assert shuffled_remainders(parents, np.random.default_rng(0)) == pytest.approx(rest, abs=1e-6)


def test_of_large_layers_some_children_stand_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    _, y = gaussian_layer(400)
    x = y @ np.random.default_rng(1).standard_normal((y.shape[1], 200))
    whole, _ = acmi_residual(x, y)
    monkeypatch.setattr(residual, "PAIRS", 100 * y.shape[1])
    some, _ = acmi_residual(x, y)
    assert some.shape == whole.shape
    left_out = np.arange(1, 200, 2)
    assert np.ptp(some[left_out], axis=0) == pytest.approx(0.0)
    assert some.mean(axis=0) == pytest.approx(whole.mean(axis=0), abs=0.03)


def test_members_of_a_group_are_shuffled_together() -> None:
    _, y = gaussian_layer(400)
    starts = np.array([0, 3])
    parents = fitted_parents(standardised_rows(y), starts, ridge=0.0)
    outside = np.column_stack([np.ones(400), y[:, 3:]])
    mine = standardised_rows(y)[:3].T.astype(float)
    left = mine - outside @ np.linalg.lstsq(outside, mine, rcond=None)[0]
    assert np.abs(parents.left[:3].T - left).max() < 1e-5
    copies = conditional_copies(parents, starts, np.random.default_rng(0))
    moved = copies - (parents.rows - parents.left)
    order = np.argsort(moved[0])
    wanted = np.argsort(parents.left[0])
    assert moved[:3, order] == pytest.approx(parents.left[:3, wanted], abs=1e-5)


def test_quality_tells_signal_from_none() -> None:
    rng = np.random.default_rng(0)
    y = rng.standard_normal((1000, 16))
    noise = rng.standard_normal((1000, 12))
    for estimate in (acmi_residual, acmi_hash, gaussian_information):
        silent = estimate(noise, y)[1]
        assert not silent.carries_signal
        assert silent.share_above_null < 0.1
        assert silent.information_mean < 1.5 * silent.null_mean
        speaking = estimate(y[:, :12] + y[:, 4:] + 0.3 * noise, y)[1]
        assert speaking.carries_signal


@pytest.mark.parametrize("correlation", [0.5, 0.9])
def test_gaussian_data_follow_the_closed_form_as_samples_grow(correlation: float) -> None:
    target = float(henze_penrose(np.array(correlation)))
    errors = []
    for samples, buckets in ((500, 4), (8_000, 12), (128_000, 40)):
        got = [gaussian_pair(correlation, samples, buckets, seed) for seed in range(5)]
        errors.append(np.abs(np.array(got) - target).mean())
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.004


def gaussian_pair(correlation: float, samples: int, buckets: int, seed: int) -> float:
    y, noise = np.random.default_rng(seed).standard_normal((2, samples, 1))
    x = correlation * y + (1 - correlation**2) ** 0.5 * noise
    return float(acmi_hash(x, y, HashOptions(buckets=buckets, draws=1))[0][0, 0])


def test_conditional_gaussian_data_follow_the_closed_form() -> None:
    rng = np.random.default_rng(0)
    target = float(henze_penrose(np.array(0.8)))
    errors = []
    for samples, buckets, z_buckets in ((1_000, 4, 4), (30_000, 8, 16), (300_000, 16, 24)):
        z, a, b = rng.standard_normal((3, samples))
        x, y = z + a, z + 0.8 * a + 0.6 * b
        options = HashOptions(buckets=buckets, z_buckets=z_buckets, draws=1, cell_samples=1.0)
        got, _ = acmi_hash(x[:, None], np.stack([y, z], axis=1), options)
        errors.append(abs(got[0, 0] - target))
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.02


def gaussian_layer(samples: int) -> tuple[FloatArray, FloatArray]:
    rng = np.random.default_rng(5)
    y = rng.standard_normal((samples, 6)) @ (np.eye(6) + 0.15 * rng.standard_normal((6, 6)))
    x = y @ rng.standard_normal((6, 10)) + rng.standard_normal((samples, 10))
    return x, y


def test_hash_and_gaussian_agree_in_rank_on_gaussian_data() -> None:
    x, y = gaussian_layer(20_000)
    hashed, _ = acmi_hash(x, y, HashOptions(buckets=6, z_buckets=32))
    gaussian, _ = gaussian_information(x, y, noise=0.0)
    assert stats.spearmanr(hashed.ravel(), gaussian.ravel()).statistic > 0.9


def test_partial_correlation_is_that_of_the_residuals() -> None:
    x, y = gaussian_layer(300)
    got = partial_correlation(x, y, ridge=0.0, noise=0.0)
    others = np.column_stack([np.ones(300), np.delete(y, 2, axis=1)])
    x_left, y_left = (
        v - others @ np.linalg.lstsq(others, v, rcond=None)[0] for v in (x[:, 4], y[:, 2])
    )
    assert got[4, 2] == pytest.approx(np.corrcoef(x_left, y_left)[0, 1], abs=1e-6)


def test_gaussian_survives_more_parents_than_samples_and_dead_channels() -> None:
    rng = np.random.default_rng(0)
    y = rng.standard_normal((40, 100))
    y[:, 7] = 3.0
    x = np.column_stack([y @ rng.standard_normal(100), np.zeros(40)])
    information, _ = gaussian_information(x, y)
    assert np.isfinite(information).all()
    assert information[:, 7] == pytest.approx([0, 0])
    assert information[1] == pytest.approx(np.zeros(100))
    assert information[0].max() > 0


def test_gaussian_scores_follow_permuted_channels() -> None:
    x, y = gaussian_layer(500)
    children, parents = np.random.default_rng(0).permutation(10), np.array([3, 0, 5, 1, 4, 2])
    plain, _ = gaussian_information(x, y)
    moved, _ = gaussian_information(x[:, children], y[:, parents])
    assert moved == pytest.approx(plain[np.ix_(children, parents)], abs=1e-9)


def test_units_of_wide_layers_rank_as_when_every_pair_is_measured() -> None:
    _, y, _ = confounded(750, 48, 0)
    rng = np.random.default_rng(1)
    wide = rng.standard_normal((200, 48)) * np.exp(0.3 * rng.standard_normal(48))
    x = y @ wide.T
    every, _ = acmi_residual(x, y, measured=200)
    some, _ = acmi_residual(x, y)
    assert not np.array_equal(every, some)
    of_units = [(np.abs(wide) * found).sum(axis=0) for found in (every, some)]
    assert stats.spearmanr(*of_units).statistic > 0.99
    assert stats.spearmanr(every.ravel(), some.ravel()).statistic > 0.9
