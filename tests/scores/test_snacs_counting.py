from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxslim_snacs.arithmetic.kernels import Buckets
from onnxslim_snacs.scores.snacs.counting import one_hot, pair_information
from onnxslim_snacs.scores.snacs.phi import cell_factors

Draw = tuple[Buckets, Buckets, Buckets]


@st.composite
def hashed(draw: st.DrawFn) -> Draw:
    """Bucket numbers of children, parents and complements, axes (unit, sample)."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    samples = draw(st.integers(1, 60))
    children, parents = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    x_kinds, y_kinds, z_kinds = (draw(st.integers(1, 5)) for _ in range(3))
    return (
        rng.integers(0, x_kinds, (children, samples)).astype(np.uint8),
        rng.integers(0, y_kinds, (parents, samples)).astype(np.uint8),
        rng.integers(0, z_kinds, (parents, samples)).astype(np.uint8),
    )


def as_released(
    x: Buckets, y: Buckets, z: Buckets, phi: npt.NDArray[np.float32] | None = None
) -> float:
    """Edges-only form of method 3.2 for one pair, a Python loop over the observed cells."""
    n_ijk = Counter(zip(x.tolist(), y.tolist(), z.tolist(), strict=True))
    n_ik = Counter(zip(x.tolist(), z.tolist(), strict=True))
    n_jk = Counter(zip(y.tolist(), z.tolist(), strict=True))
    n_k = Counter(z.tolist())
    total = 0.0
    for (i, j, k), n in n_ijk.items():
        ratio = n * n_k[k] / (n_ik[i, k] * n_jk[j, k])
        g = (ratio - 1) ** 2 / (2 * (ratio + 1))
        weight = 1.0 if phi is None else float(phi[i, j, k])
        total += weight * n_ik[i, k] * n_jk[j, k] / (len(x) * n_k[k]) * g
    return total


def full_sum(x: Buckets, y: Buckets, z: Buckets) -> float:
    """Full form of method 3.2 for one pair, a Python loop over the samples."""
    rows = list(zip(x.tolist(), y.tolist(), z.tolist(), strict=True))
    n_ijk, n_k = Counter(rows), Counter(k for _, _, k in rows)
    n_ik, n_jk = Counter((i, k) for i, _, k in rows), Counter((j, k) for _, j, k in rows)
    ratios = (n_ijk[i, j, k] * n_k[k] / (n_ik[i, k] * n_jk[j, k]) for i, j, k in rows)
    return 1 - 2 / len(rows) * sum(1 / (1 + ratio) for ratio in ratios)


def scores(x: Buckets, y: Buckets, z: Buckets, **options: Any) -> npt.NDArray[np.float64]:
    return pair_information(one_hot(x), y, z, **options)


def every_pair(
    draw: Draw, one: Callable[[Buckets, Buckets, Buckets], float]
) -> npt.NDArray[np.float64]:
    x, y, z = draw
    return np.array([[one(a, b, c) for b, c in zip(y, z, strict=True)] for a in x])


@given(hashed())
@settings(max_examples=60, deadline=None)
def test_full_form_is_the_formula_sample_by_sample(draw: Draw) -> None:
    assert scores(*draw) == pytest.approx(every_pair(draw, full_sum), abs=2e-6)


@given(hashed())
@settings(max_examples=60, deadline=None)
def test_released_form_is_the_naive_loop(draw: Draw) -> None:
    expected = every_pair(draw, as_released)
    assert scores(*draw, edges_only=True) == pytest.approx(expected, abs=2e-6)


@pytest.mark.parametrize("form", ["act", "act_sq", "e_act"])
def test_activation_phi_weighs_each_cell(form: str) -> None:
    rng = np.random.default_rng(3)
    x, y, z = (rng.integers(0, kinds, (3, 80)).astype(np.uint8) for kinds in (4, 4, 16))
    phi = cell_factors(form, 4, 16, 10)
    assert phi is not None
    assert phi.shape == (4, 4, 16)
    assert np.ptp(phi) > 0.1
    expected = every_pair((x, y, z), lambda a, b, c: as_released(a, b, c, phi))
    got = scores(x, y, z, edges_only=True, cell_weights=phi)
    assert got == pytest.approx(expected, abs=2e-6)


@given(hashed())
@settings(max_examples=30, deadline=None)
def test_full_form_is_symmetric_in_x_and_y_given_z(draw: Draw) -> None:
    x, y, z = draw
    common = np.repeat(z[:1], max(len(x), len(y)), axis=0)
    forth = scores(x, y, common[: len(y)])
    back = scores(y, x, common[: len(x)])
    assert forth == pytest.approx(back.T, abs=2e-6)


@given(hashed(), st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_permuted_channels_permute_the_scores(draw: Draw, seed: int) -> None:
    x, y, z = draw
    rng = np.random.default_rng(seed)
    children, parents = rng.permutation(len(x)), rng.permutation(len(y))
    plain = scores(x, y, z)
    moved = scores(x[children], y[parents], z[parents])
    assert moved == pytest.approx(plain[np.ix_(children, parents)], abs=2e-6)


def test_blocks_and_threads_change_nothing() -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 4, (150, 200)).astype(np.uint8)
    y, z = (rng.integers(0, kinds, (300, 200)).astype(np.uint8) for kinds in (4, 8))
    whole = scores(x, y, z, threads=1)
    assert np.array_equal(whole, scores(x, y, z, threads=3))
    corner = scores(x[140:], y[290:], z[290:])
    assert whole[140:, 290:] == pytest.approx(corner, abs=1e-6)
