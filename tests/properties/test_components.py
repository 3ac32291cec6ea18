"""Connected components against scipy's."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components, shortest_path

from onnxslim_snacs.ir.views import components
from onnxslim_snacs.ir.why import _breadth_first


@pytest.mark.parametrize("size", [0, 1, 7, 400])
def test_components_are_those_of_scipy(size: int) -> None:
    rng = np.random.default_rng(size)
    for ties in (0, size // 2, size, 3 * size):
        a, b = rng.integers(0, max(1, size), (2, ties))
        near = coo_matrix((np.ones(ties), (a, b)), shape=(size, size))
        wanted = connected_components(near, directed=False)[1] if size else np.empty(0)
        assert np.array_equal(components(size, a, b), wanted)


def test_a_long_chain_in_any_order_is_one_component() -> None:
    order = np.random.default_rng(0).permutation(5000)
    assert not components(5000, order[1:], order[:-1]).any()


@pytest.mark.parametrize("size", [5, 50, 400])
def test_ways_are_as_short_as_those_of_scipy(size: int) -> None:
    rng = np.random.default_rng(size)
    a, b = rng.integers(0, size, (2, 5 * size // 4))
    near = coo_matrix((np.ones(len(a)), (a, b)), shape=(size, size))
    far = shortest_path(near, directed=False, unweighted=True, indices=0)
    order, before = _breadth_first(a, b, size, 0)
    assert set(order) == set(np.flatnonzero(np.isfinite(far)))
    assert (np.diff(far[order]) >= 0).all()
    assert (far[before[order[1:]]] == far[order[1:]] - 1).all()
