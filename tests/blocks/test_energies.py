"""Energy statistics, on numbers by hand and against sums over all pairs."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from onnxslim_snacs.blocks.energies import (
    class_energy,
    distance_correlation,
    distances,
    energy,
    shrunk,
)


def test_distances_by_hand() -> None:
    x = np.array([[0.0, 0.0], [3.0, 4.0], [3.0, 0.0]])
    assert distances(x) == pytest.approx(np.array([[0, 5, 3], [5, 0, 4], [3, 4, 0]]), abs=1e-6)


def test_the_energy_of_two_points_and_one_by_hand() -> None:
    # X = {0, 2}, Y = {1}: 2 * 1 - (0 + 2 + 2 + 0) / 4 - 0 = 1
    apart = distances(np.array([[0.0], [2.0], [1.0]]))
    first, second = np.array([True, True, False]), np.array([False, False, True])
    assert energy(apart, first, second) == pytest.approx(1.0, abs=1e-12)
    assert energy(apart, first, first) == pytest.approx(0.0, abs=1e-12)


def test_ped_is_the_largest_from_the_most_frequent_class_over_the_root_of_the_dimension() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((30, 4))
    labels = np.array([1] * 14 + [0] * 8 + [2] * 8)
    x[labels == 2] += 1.5

    def mean(i: int, j: int) -> float:
        pairs = product(x[labels == i], x[labels == j])
        return float(np.mean([np.linalg.norm(a - b) for a, b in pairs]))

    wanted = max(2 * mean(1, c) - mean(1, 1) - mean(c, c) for c in (0, 2)) / 2.0
    assert class_energy(distances(x), labels, 4) == pytest.approx(wanted, rel=1e-9)


def test_the_unbiased_distance_correlation_equals_its_three_sums() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((20, 3)), rng.standard_normal((20, 2))
    y[:, 0] += x[:, 0]
    a, b, n = distances(x), distances(y), 20

    def covariance(a: np.ndarray, b: np.ndarray) -> float:
        s1, s2 = (a * b).sum(), (a.sum(axis=1) * b.sum(axis=1)).sum()
        s3 = a.sum() * b.sum()
        last = s3 / (n * (n - 1) * (n - 2) * (n - 3))
        return float(s1 / (n * (n - 3)) - 2 * s2 / (n * (n - 2) * (n - 3)) + last)

    wanted = covariance(a, b) / (covariance(a, a) * covariance(b, b)) ** 0.5
    assert distance_correlation(a, b) == pytest.approx(wanted, rel=1e-9)
    assert distance_correlation(a, a) == pytest.approx(1.0, rel=1e-12)


def test_independent_samples_have_none() -> None:
    rng = np.random.default_rng(2)
    found = [
        distance_correlation(
            distances(rng.standard_normal((60, 5))), distances(rng.standard_normal((60, 2)))
        )
        for _ in range(40)
    ]
    # the mean of 40, each with a standard deviation of about .02
    assert abs(np.mean(found)) < 4 * np.std(found) / 40**0.5


def test_neighbours_are_averaged_along_the_longest_axis() -> None:
    x = np.arange(16.0).reshape(1, 2, 2, 4)
    assert shrunk(x, 16).shape == (1, 16)
    assert shrunk(x, 8)[0] == pytest.approx(np.array([0.5, 2.5, 4.5, 6.5, 8.5, 10.5, 12.5, 14.5]))
