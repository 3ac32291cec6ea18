"""Covariances of rows that come in parts, against those of all rows at once."""

from __future__ import annotations

import numpy as np
import pytest

from onnxslim_snacs.layers.parts_of_rows import STRIP, Parts, part_of


@pytest.mark.parametrize("features", [1, STRIP, 2 * STRIP + 3])
def test_parts_add_up_to_the_covariance_of_all_rows(features: int) -> None:
    rng = np.random.default_rng(0)
    drawn = rng.standard_normal((500, features)) @ rng.standard_normal((features, features))
    rows = (drawn + 10 * np.arange(features)).astype(np.float32)
    rows[:200] += 3.0  # parts have other means
    parts = Parts()
    for start, stop in ((0, 200), (200, 201), (201, 500)):
        parts.add(part_of(rows[start:stop]))
    found = parts.finish()
    assert found is not None
    mean, covariance = found
    exact = rows.astype(np.float64)
    np.testing.assert_allclose(mean, exact.mean(axis=0), rtol=1e-12, atol=1e-12)
    wanted = np.cov(exact, rowvar=False, bias=True).reshape(features, features)
    np.testing.assert_allclose(covariance, wanted, rtol=1e-4, atol=1e-5 * wanted.max())
    np.testing.assert_array_equal(covariance, covariance.T)


def test_what_hardly_varies_about_a_large_mean_is_not_lost() -> None:
    step = 2.0**-10  # representable at 1000 in single precision
    rows = np.array([[1000.0 - step], [1000.0 + step]] * 8, dtype=np.float32)
    parts = Parts()
    for part in np.split(rows, 4):
        parts.add(part_of(part))
    found = parts.finish()
    assert found is not None
    assert found[1][0, 0] == pytest.approx(step**2, rel=1e-6)


def test_no_parts_are_nothing() -> None:
    assert Parts().finish() is None
