from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from scipy import integrate, special, stats

from onnxslim_snacs.scores.snacs.acmi import HashOptions, acmi_hash, permuted_within
from onnxslim_snacs.scores.snacs.counting import one_hot, pair_information
from onnxslim_snacs.scores.snacs.gaussian import (
    gaussian_information,
    henze_penrose,
    partial_correlation,
)
from onnxslim_snacs.scores.snacs.hashing import quantile_buckets, standardised_rows

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


def common_cause(samples: int, seed: int) -> tuple[FloatArray, FloatArray]:
    """60 children and one parent that depend on each other through a second parent only."""
    rng = np.random.default_rng(seed)
    cause = np.repeat(np.arange(4.0), samples // 4)
    y = 2 * cause + rng.standard_normal(samples)
    x = 2 * cause[:, None] + rng.standard_normal((samples, 60))
    return x, np.stack([y, cause], axis=1)


def test_conditionally_independent_data_stays_inside_the_permutation_null() -> None:
    x, y = common_cause(2000, 0)
    options = HashOptions(draws=1)
    information, _ = acmi_hash(x, y, options)
    x_buckets = quantile_buckets(standardised_rows(x), 4)
    y_buckets = quantile_buckets(standardised_rows(y[:, :1]), 4)
    strata = quantile_buckets(standardised_rows(y[:, 1:]), 4)
    rng = np.random.default_rng(1)
    null = np.concatenate(
        [
            pair_information(one_hot(x_buckets), permuted_within(y_buckets, strata, rng), strata)
            for _ in range(20)
        ]
    )
    assert np.mean(information[:, 0] > np.quantile(null, 0.95)) < 0.15
    assert information[:, 0].mean() == pytest.approx(null.mean(), abs=3 * null.std() / 60**0.5)
    unconditional, _ = acmi_hash(x, y[:, :1], options)
    assert unconditional.min() > 10 * null.mean()


def test_quality_tells_signal_from_none() -> None:
    rng = np.random.default_rng(0)
    y = rng.standard_normal((1000, 16))
    noise = rng.standard_normal((1000, 12))
    for estimate in (acmi_hash, gaussian_information):
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
