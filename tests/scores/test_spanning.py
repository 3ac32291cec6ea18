"""MINT's trees against numbers worked out by hand, scipy's trees, and laws that are known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.sparse.csgraph import minimum_spanning_tree
from scipy.spatial.distance import cdist

from onnxslim_snacs.scores.spanning import crossings, tree_information


def friedman_rafsky(a: list[float], b: list[float]) -> float:
    """1 - R (m + n) / (2 m n), not below 0."""
    points = np.array([*a, *b])[:, None]
    first = np.arange(len(points)) < len(a)
    squares = cdist(points, points, "sqeuclidean").astype(np.float32)[None]
    ((crossed,),) = crossings(squares, np.zeros_like(squares), first)
    return max(0.0, 1.0 - int(crossed) * len(points) / (2 * len(a) * len(b)))


def test_edges_between_two_sets_by_hand() -> None:
    """R = 1, 3 and 3."""
    assert friedman_rafsky([0, 1.1], [10, 11.3]) == 0.5
    assert friedman_rafsky([0, 2.1], [1, 3.3]) == 0.0
    assert friedman_rafsky([0, 1, 2.2, 3.1], [1.5, 7, 8.1, 9.3]) == 0.25


def test_two_samples_of_one_law_cross_as_often_as_chance_says() -> None:
    """E R = 2 m n / (m + n) = 100 each; its standard deviation is below 8."""
    rng = np.random.default_rng(0)
    points = rng.standard_normal((40, 200, 3))
    squares = np.stack([cdist(p, p, "sqeuclidean") for p in points]).astype(np.float32)
    first = np.arange(200) < 100
    found = crossings(squares, np.zeros((1, 200, 200), np.float32), first)
    assert np.mean(found) == pytest.approx(100, abs=4)


def by_scipy(x: NDArray[np.float64], y: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    """One pair after the other, one tree after the other."""
    size = len(x) // 3
    order = np.random.default_rng(seed).permutation(len(x))[: 3 * size]
    true, kept, donors = np.split(order, 3)
    found = np.zeros((x.shape[1], y.shape[1]))
    for p in range(y.shape[1]):
        z = np.delete(y, p, axis=1)
        nearest = donors[cdist(z[kept], z[donors]).argmin(axis=1)]
        for c in range(x.shape[1]):
            real = np.column_stack([x[true, c], y[true, p], z[true]])
            made = np.column_stack([x[kept, c], y[nearest, p], z[kept]])
            points = np.vstack([real, made])
            tree = minimum_spanning_tree(cdist(points, points)).tocoo()
            crossed = np.sum((tree.row < size) != (tree.col < size))
            found[c, p] = 1.0 - min(crossed, size) / size
    return found


def layer(rows: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Two children of four parents with a common cause; the weights of two parents are zero."""
    rng = np.random.default_rng(5)
    y = rng.standard_normal((rows, 4)) + rng.standard_normal((rows, 1))
    w = np.array([[2.0, 0, 0], [0, 0, 0], [1, 1, 0], [0, 3, 0]])
    return y @ w + 0.2 * rng.standard_normal((rows, 3)), y


def test_all_pairs_together_are_the_pairs_one_by_one() -> None:
    x, y = layer(150)
    np.testing.assert_array_equal(tree_information(x, y, seed=3), by_scipy(x, y, 3))


def test_blocks_do_not_change_it(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = layer(90)
    whole = tree_information(x, y)
    monkeypatch.setattr("onnxslim_snacs.scores.spanning._HELD", 60 * 60 * 2)
    np.testing.assert_array_equal(tree_information(x, y, threads=1), whole)


def test_connections_stand_out_from_what_a_common_cause_brings() -> None:
    x, y = layer(1500)
    found = tree_information(x, y)
    strong = [found[0, 0], found[1, 3]]
    none = [found[0, 1], found[0, 3], found[1, 0], found[1, 1], *found[2]]
    assert min(strong) > 2 * max(none)


def test_groups_are_blocks_of_channels() -> None:
    """Two groups of two parents: as many columns, and the surrogate takes both channels."""
    x, y = layer(300)
    found = tree_information(np.repeat(x[:, :2], 2, axis=1), y, groups=2)
    assert found.shape == (2, 2)
    assert found[0, 0] > found[0, 1]
    assert found[1, 1] > found[1, 0]


def test_rows_of_x_and_y_belong_together() -> None:
    """What is left of the information when the rows of one side are shuffled: chance."""
    x, y = layer(900)
    shuffled: Any = np.random.default_rng(0).permutation(x)
    assert tree_information(shuffled, y).max() < 0.2 < tree_information(x, y).max()
