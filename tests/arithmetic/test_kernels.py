"""Every kernel in numpy and in torch: numbers worked out by hand, then each against the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from onnxslim_snacs.arithmetic.kernels import Arithmetic, Fit, FlatAim, Placed
from onnxslim_snacs.arithmetic.on_numpy import NUMPY
from onnxslim_snacs.arithmetic.on_torch import torch_on
from onnxslim_snacs.scores.snacs.hashing import group_starts, standardised_rows

torch = pytest.importorskip("torch")
CARD = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no card")
IN_TORCH = (torch_on("cpu"), pytest.param(torch_on("cuda"), marks=[CARD, pytest.mark.cuda]))
#: As `kernels` states it: of double precision, and of products in single precision.
DOUBLE: Any = {"rtol": 1e-8, "atol": 1e-10}
SINGLE: Any = {"rtol": 1e-5, "atol": 1e-6}
both = pytest.mark.parametrize("a", [NUMPY, *IN_TORCH], ids=lambda a: a.title)
each = pytest.mark.parametrize("there", IN_TORCH, ids=lambda a: a.title)


def single(*rows: Any) -> np.ndarray:
    return np.array(rows, dtype=np.float32)


def double(*rows: Any) -> np.ndarray:
    return np.array(rows, dtype=np.float64)


@both
def test_rows_about_their_mean(a: Arithmetic) -> None:
    mean, products = a.about_mean(single([1, 2], [3, 6]))
    assert mean.tolist() == [2, 4]
    assert products.tolist() == [[2, 4], [4, 8]]
    assert mean.dtype == np.float64
    assert products.dtype == np.float32


@both
def test_rows_with_each_other(a: Arithmetic) -> None:
    found = a.with_each_other(single([1, 2, 0], [3, 4, 1]))
    assert found.tolist() == [[5, 11], [11, 26]]
    assert found.dtype == np.float32


@both
def test_sums_of_rows(a: Arithmetic) -> None:
    sums = a.row_sums(single([[1, 2], [3, 4]]), single([[1], [2]]))
    found = [array.tolist() for array in sums]
    assert found == [[[4, 6]], [[3]], [[[10, 14], [14, 20]]], [[[7], [10]]], [[5]]]
    assert [array.dtype for array in sums] == [np.float32] * 4 + [np.float64]


@both
def test_roots(a: Arithmetic) -> None:
    assert_allclose(a.root(double([4, 2], [2, 5]), 1e-3), [[2, 0], [1, 2]], **DOUBLE)
    lower = a.root(double([1, 0], [0, -1e-9]), 1e-3)  # what rounding may leave
    assert_allclose(lower @ lower.T, np.diag([1, 1e-3]), **DOUBLE)


@both
def test_damped_equations(a: Arithmetic) -> None:
    """diag(2, 4) + I; diag(1, -0.5), of which the second value is taken for 0, + I / 4."""
    good, bad = np.diag([2.0, 4.0]), np.diag([1.0, -0.5])
    one = a.solver(good[None], double(1))(double([[3], [10]]))
    assert_allclose(one, [[[1], [2]]], **DOUBLE)
    rounded = a.solver(bad[None], double(0.25))(double([[1.25], [0.25]]))
    assert_allclose(rounded, [[[1], [1]]], **DOUBLE)
    several = a.solver(np.stack([good, bad]), double(1, 0.25))
    right = double([[3, 6], [10, 5]], [[1.25, 0], [0.25, 1]])
    assert_allclose(several(right), [[[1, 2], [2, 1]], [[1, 0], [1, 4]]], **DOUBLE)


@both
def test_solutions_that_overflow_are_found_by_eigenvalues(a: Arithmetic) -> None:
    with np.errstate(all="ignore"):
        found = a.solver(np.zeros((1, 1, 1)), double(1e-300))(double([[1e-300]]))
    assert_allclose(found, [[[1]]], **DOUBLE)


@both
def test_a_fit_behind_an_activation(a: Arithmetic) -> None:
    """max(v, 0): where the target is 0 anything below is as good, and t = max(2 x, 0) has v = 2 x.

    The first step is least squares to what 0 lacks, (0, 0, 2, 4): covariance 1.75, variance 1.25.
    """
    x = single([-1], [0], [1], [2])
    aim = FlatAim(2 * np.maximum(x, 0), single([0]), single([np.inf]), x <= 0, None)
    solve = a.solver(double([[1.25]]), double(1e-12))
    start = Fit(double([0]), double(0))
    assert_allclose(a.refined(x, double(0.5), aim, start, solve, 1).weight, [[1.4]], rtol=1e-5)
    found = a.refined(x, double(0.5), aim, start, solve, 400)
    assert_allclose(found.weight, [[2]], rtol=1e-3)
    assert_allclose(found.bias, [0], atol=2e-3)
    whole = FlatAim(3 * x - 1, single([-np.inf]), single([np.inf]), None, None)
    plain = a.refined(x, double(0.5), whole, start, solve, 1)
    assert_allclose((plain.weight[0, 0], plain.bias[0]), (3, -1), rtol=1e-6)


@both
def test_a_reader_whose_features_hang_together(a: Arithmetic) -> None:
    """H = [[2, 1], [1, 2]], W = (1, 1): H^-1 = [[2, -1], [-1, 2]] / 3.

    Each alone costs 1 / (2/3); with the first gone W is 1 + 1/2 and H^-1 is 1/2.
    """
    weight, blocks = double([1], [1]), np.array([[0], [1]])
    reader = a.open_reader(double([2, 1], [1, 2]), weight, blocks)
    assert_allclose(reader.costs(np.array([0, 1])), [1.5, 1.5], **DOUBLE)
    reader.take(np.array([0]))
    assert_allclose(reader.costs(np.array([1])), [4.5], **DOUBLE)
    assert weight.tolist() == [[1], [1]]  # the caller's


@both
def test_a_reader_of_one_feature_twice(a: Arithmetic) -> None:
    """[[1, 1], [1, 1]] has no inverse but that of its ridge: one goes for nothing, as 2 = 1 + 1."""
    damped = np.ones((2, 2)) + 1e-9 * np.eye(2)
    reader = a.open_reader(damped, double([1], [1]), np.array([[0], [1]]))
    assert reader.costs(np.array([0]))[0] == pytest.approx(0.0, abs=1e-8)
    reader.take(np.array([0]))
    assert reader.costs(np.array([1]))[0] == pytest.approx(4.0, rel=1e-6)


@both
def test_parents_that_hang_together(a: Arithmetic) -> None:
    """Correlation 1/2: P = 4/3 [[1, -1/2], [-1/2, 1]], and each less half of the other is left."""
    first, other = double(1, 1, -1, -1), double(1, -1, 1, -1)
    second = (first + np.sqrt(3) * other) / 2
    rows = np.stack([first, second])
    found = a.fitted(rows, None, 0.0)
    assert_allclose(found.precision, [4 / 3, 4 / 3], rtol=1e-8)
    assert_allclose(found.left, [first - second / 2, second - first / 2], rtol=1e-8, atol=1e-9)
    assert_allclose(found.whole, 4 / 3 * found.left, rtol=1e-8, atol=1e-9)


@both
@pytest.mark.parametrize("parents", [3, 9], ids=("through parents", "through samples"))
def test_groups_of_parents(a: Arithmetic, parents: int) -> None:
    """Against the inverse as it is written: left_G = (P_GG)^-1 (P Y)_G."""
    rows = standardised_rows(np.random.default_rng(parents).normal(size=(6, parents)))
    values, ridge, starts = rows.astype(np.float64), 0.3, np.array([0, 2])
    p = np.linalg.inv(0.7 * values @ values.T / 6 + (ridge + 1e-10) * np.eye(parents))
    found = a.fitted(values, starts, ridge)
    assert_allclose(found.whole, p @ values, rtol=1e-7, atol=1e-9)
    assert_allclose(found.precision, np.diag(p), rtol=1e-7)
    first = np.linalg.solve(p[:2, :2], (p @ values)[:2])
    assert_allclose(found.left[:2], first, rtol=1e-7, atol=1e-9)


@both
def test_rows_are_cut_at_their_quantiles(a: Arithmetic) -> None:
    """Equal values share a bucket, wherever a cut lies."""
    values = single([3, 1, 2, 4], [1, 1, 1, 2], [5, 5, 5, 5])
    assert a.quantile_buckets(values, 2).tolist() == [[1, 0, 0, 1], [1, 1, 1, 1], [1, 1, 1, 1]]
    assert a.quantile_buckets(values, 4)[0].tolist() == [2, 0, 1, 3]
    assert a.quantile_buckets(values, 1).tolist() == [[0] * 4] * 3


@both
def test_what_is_outside_a_channel_is_the_others(a: Arithmetic) -> None:
    rows = standardised_rows(np.array([[1, 8, 3], [2, 1, 4], [3, 5, 0], [4, 2, 9]]))
    found = a.hash_outside(rows[:2], double([1], [1]), np.arange(2), 2)
    assert found.tolist() == [[1, 0, 1, 0], [0, 0, 1, 1]]
    groups = a.hash_groups(rows, single([1, 1, 0]), np.array([0, 2]), 2)
    total = rows[:2].sum(axis=0)
    assert groups[0].tolist() == (total >= np.sort(total)[2]).astype(int).tolist()


@both
def test_cells_of_children_and_parents_that_are_one(a: Arithmetic) -> None:
    """Four samples, x = y = 0 0 1 1: n = 2, 0, 0, 2 and e = 1 in all four cells.

    The sum of (n - e)^2 / (n + e) is 1/3 + 1 + 1 + 1/3, over 2 N; observed cells alone: 2/3.
    """
    x = np.eye(2, dtype=np.float32)[[0, 0, 1, 1]]
    y, z = np.array([[0, 0, 1, 1]], dtype=np.uint8), np.zeros((1, 4), dtype=np.uint8)
    phi = np.full((2, 2, 1), 3, dtype=np.float32)
    assert_allclose(a.counter(x, 2, False, None)(y, z), [[1 / 3]], **SINGLE)
    assert_allclose(a.counter(x, 2, True, None)(y, z), [[1 / 12]], **SINGLE)
    assert_allclose(a.counter(x, 2, False, phi)(y, z), [[1]], **SINGLE)
    assert_allclose(a.counter(x, 2, False, None)(y, y), [[0]], atol=1e-6)  # Z tells all of it
    # the same remainders: 1 - 2/N sum of n e / (n + e) = 1 - 2/4 (2/3 + 2/3)
    own = single([-1, -1, 1, 1])
    placed = Placed(np.array([[0]]), single([9]), single([0.5]), slice(0, 1), y)
    overlaps = a.overlaps(np.zeros((1, 4), dtype=np.float32), own, single(0))
    assert_allclose(overlaps(placed), [[1 / 3]], **DOUBLE)


def _rows(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    x = rng.normal(size=(2, 300, 7)).astype(np.float32)
    return x, (x @ rng.normal(size=(2, 7, 4))).astype(np.float32)


def _about_mean(a: Arithmetic, rng: np.random.Generator) -> Any:
    return a.about_mean(100 + _rows(rng)[0][0])


def _row_sums(a: Arithmetic, rng: np.random.Generator) -> Any:
    return a.row_sums(*_rows(rng))


def _equations(a: Arithmetic, rng: np.random.Generator) -> Any:
    x, t = (array.astype(np.float64) for array in _rows(rng))
    xx, right = x.transpose(0, 2, 1) @ x, x.transpose(0, 2, 1) @ t
    one, each = a.solver(xx[:1], double(0.1)), a.solver(xx, double(0.1, 0.2))
    return one(right[:1]), each(right), a.root(xx[0], 0.1)


def _refined(a: Arithmetic, rng: np.random.Generator) -> Any:
    x, t = (array[0] for array in _rows(rng))
    low, high = single([-0.5] * 4), single([1.5] * 4)
    aim = FlatAim(np.clip(t, low, high), low, high, t <= low, t >= high)
    mean = x.mean(axis=0, dtype=np.float64)
    solve = a.solver(np.cov(x, rowvar=False, bias=True)[None], double(1e-6))
    return a.refined(x, mean, aim, Fit(np.zeros((7, 4)), np.zeros(4)), solve, 10)


def _reader(a: Arithmetic, rng: np.random.Generator) -> Any:
    """Until nearly everything has gone, so that matrices are made smaller several times."""
    features = rng.normal(size=(500, 36)) @ rng.normal(size=(36, 36))
    damped = np.cov(features, rowvar=False) + 1e-3 * np.eye(36)
    blocks = np.arange(36).reshape(12, 3)
    reader = a.open_reader(damped, rng.normal(size=(36, 5)), blocks)
    left, found = np.arange(12), []
    for gone in ([3], [0, 7], [1], [2, 11], [5], [9, 10]):
        reader.take(np.array(gone))
        left = np.setdiff1d(left, gone)
        found.append(reader.costs(left))
    return found


def _fitted(a: Arithmetic, rng: np.random.Generator) -> Any:
    few = standardised_rows(rng.normal(size=(40, 9))).astype(np.float64)
    many = standardised_rows(rng.normal(size=(20, 30))).astype(np.float64)
    starts = group_starts(30, 7)
    return *a.fitted(few, None, None), *a.fitted(many, None, None), *a.fitted(many, starts, None)


KERNELS: tuple[Callable[[Arithmetic, np.random.Generator], Any], ...] = (
    _about_mean,
    _row_sums,
    _equations,
    _refined,
    _reader,
    _fitted,
)


@each
@pytest.mark.parametrize("kernel", KERNELS, ids=lambda f: f.__name__.strip("_"))
def test_torch_gives_what_numpy_gives(kernel: Callable[..., Any], there: Arithmetic) -> None:
    """To the tolerances that `kernels` states."""
    expected, found = (kernel(a, np.random.default_rng(4)) for a in (NUMPY, there))
    for want, got in zip(expected, found, strict=True):
        assert (got.dtype, got.shape) == (want.dtype, want.shape)
        size = float(np.abs(want).max())
        near = 1e-8 if want.dtype == np.float64 and kernel is not _refined else 1e-5
        assert_allclose(got, want, rtol=0, atol=near * size)


@each
@pytest.mark.parametrize("groups", [None, 5])
def test_buckets_are_the_same(groups: int | None, there: Arithmetic) -> None:
    """But for values on the edge of two buckets: none of 4,000 here."""
    rng = np.random.default_rng(8)
    rows = standardised_rows(rng.normal(size=(200, 20)) @ rng.normal(size=(20, 20)))
    starts = group_starts(20, groups)
    outside, inside = rng.normal(size=(20, 4)), rng.normal(size=(3, 20)).astype(np.float32)
    for a, b in (
        [x.hash_outside(rows, outside, starts, 2) for x in (NUMPY, there)],
        [x.hash_groups(rows, inside, starts, 2) for x in (NUMPY, there)],
        [x.quantile_buckets(rows, 7) for x in (NUMPY, there)],
    ):
        assert a.dtype == b.dtype == np.uint8
        assert a.tolist() == b.tolist()
        assert len(np.unique(a)) > 2


@each
@pytest.mark.parametrize(("edges", "weighted"), [(False, False), (True, False), (True, True)])
def test_counts_are_the_same(edges: bool, weighted: bool, there: Arithmetic) -> None:
    rng = np.random.default_rng(2)
    x = np.eye(4, dtype=np.float32)[rng.integers(0, 4, (90, 5))].reshape(90, -1)
    y, z = (rng.integers(0, k, (6, 90)).astype(np.uint8) for k in (3, 5))
    phi = rng.random((4, 3, 5)).astype(np.float32) if weighted else None
    want, got = (a.counter(x, 4, edges, phi)(y, z) for a in (NUMPY, there))
    assert_allclose(got, want, rtol=1e-5)
    assert want.shape == (5, 6)
    assert want.min() > 0


@each
def test_overlaps_are_the_same(there: Arithmetic) -> None:
    rng = np.random.default_rng(3)
    left, own = (rng.normal(size=(k, 80)).astype(np.float32) for k in (9, 6))
    cuts = single(*np.linspace(-1, 1, 7))
    among = np.argsort(rng.random((3, 9)), axis=1)[:, :4]
    scale, share = (rng.random((3, 4)).astype(np.float32) for _ in range(2))
    placed = Placed(among, scale, share, slice(2, 5), rng.integers(0, 8, (3, 80)).astype(np.uint8))
    want, got = (a.overlaps(left, own, cuts)(placed) for a in (NUMPY, there))
    assert_allclose(got, want, **DOUBLE)
    assert want.shape == (3, 4)
