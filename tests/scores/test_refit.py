"""The costs of removal under re-fit against brute force."""

from __future__ import annotations

import numpy as np
import pytest

from onnxslim_snacs.decide.rank import ranks
from onnxslim_snacs.ir.types import Axis
from onnxslim_snacs.layers.consumers import RIDGE, Consumer
from onnxslim_snacs.scores.refit import removal_costs

CHANNELS, TAPS, OUTPUTS, ROWS = 6, 4, 5, 4000


def consumer(rng: np.random.Generator, x: np.ndarray) -> Consumer:
    """A layer that reads (rows, taps * channels) features."""
    weight = rng.standard_normal((x.shape[1], OUTPUTS))
    covariance = np.cov(x, rowvar=False, bias=True)
    return Consumer(Axis("x", 1), CHANNELS, covariance, x.mean(axis=0), weight, 1.0)


def features(rng: np.random.Generator) -> np.ndarray:
    """Correlated features, tap by tap."""
    mixed = rng.standard_normal((ROWS, TAPS * CHANNELS)) @ rng.standard_normal((24, 24))
    return mixed + rng.standard_normal((ROWS, 24)) + 3.0


def brute_force(reader: Consumer, x: np.ndarray, gone: list[int]) -> float:
    """Mean squared error of the best re-fit with intercept and ridge, summed over the outputs."""
    target = (x - x.mean(axis=0)) @ reader.weight
    left = np.setdiff1d(np.arange(x.shape[1]), reader.features(np.array(gone)))
    kept = x[:, left] - x[:, left].mean(axis=0)
    level = RIDGE * np.trace(reader.covariance) / x.shape[1]
    damp = np.sqrt(level * ROWS) * np.eye(len(left))
    # the ridge draws towards the weights that are there, as it does in the quadratic form
    start = reader.weight[left]
    rest = target - kept @ start
    step = np.linalg.lstsq(
        np.vstack([kept, damp]), np.vstack([rest, np.zeros((len(left), OUTPUTS))]), rcond=None
    )[0]
    error = np.square(rest - kept @ step).sum() / ROWS + level * np.square(step).sum()
    removed = reader.features(np.array(gone))
    return float(error + level * np.square(reader.weight[removed]).sum())


def test_the_first_to_go_is_the_cheapest_of_all_and_costs_what_brute_force_says() -> None:
    rng = np.random.default_rng(0)
    x = features(rng)
    reader = consumer(rng, x)
    units = np.arange(CHANNELS)[:, None]
    costs = removal_costs([(reader, units)], CHANNELS)
    alone = [brute_force(reader, x, [c]) for c in range(CHANNELS)]
    assert np.argmin(costs) == np.argmin(alone)
    assert costs.min() == pytest.approx(min(alone), rel=1e-6)


def test_the_costs_add_up_to_the_error_of_the_whole_cut() -> None:
    rng = np.random.default_rng(1)
    x = features(rng)
    reader = consumer(rng, x)
    costs = removal_costs([(reader, np.arange(CHANNELS)[:, None])], CHANNELS)
    order = np.argsort(costs, kind="stable")
    total = np.cumsum(costs[order])
    for count in range(1, CHANNELS):
        wanted = brute_force(reader, x, order[:count].tolist())
        # a later unit may be cheaper than an earlier one, which then sets the level
        assert total[count - 1] >= wanted * (1 - 1e-6)
        assert total[count - 1] == pytest.approx(wanted, rel=0.2)


def test_a_channel_that_another_repeats_costs_nothing_until_the_other_has_gone() -> None:
    rng = np.random.default_rng(2)
    x = features(rng).reshape(ROWS, TAPS, CHANNELS)
    x[:, :, 4] = 2.0 * x[:, :, 1] + 7.0
    reader = consumer(rng, x.reshape(ROWS, -1))
    costs = removal_costs([(reader, np.arange(CHANNELS)[:, None])], CHANNELS)
    twins = sorted(costs[[1, 4]])
    assert twins[0] < 1e-2 * np.delete(costs, [1, 4]).min()
    assert twins[1] > 10 * twins[0]


def test_several_readers_count_each_relative_to_what_it_makes() -> None:
    rng = np.random.default_rng(3)
    x = features(rng)
    first, second = consumer(rng, x), consumer(rng, x)
    units = np.arange(CHANNELS)[:, None]
    both = removal_costs([(first, units), (second, units)], CHANNELS)
    alone = [brute_force(first, x, [c]) + brute_force(second, x, [c]) for c in range(CHANNELS)]
    assert np.argmin(both) == np.argmin(alone)
    assert both.min() == pytest.approx(min(alone), rel=1e-6)


def test_units_of_several_channels_go_as_a_whole() -> None:
    rng = np.random.default_rng(4)
    x = features(rng)
    reader = consumer(rng, x)
    units = np.arange(CHANNELS).reshape(3, 2)
    costs = removal_costs([(reader, units)], 3)
    alone = [brute_force(reader, x, list(unit)) for unit in units]
    assert np.argmin(costs) == np.argmin(alone)
    assert costs.min() == pytest.approx(min(alone), rel=1e-6)


def test_the_error_of_every_width_is_that_of_brute_force() -> None:
    rng = np.random.default_rng(5)
    x = features(rng)
    reader = consumer(rng, x)
    order = np.array([4, 1, 0, 3, 5, 2])
    found = reader.errors_refitted(order[:, None], [1, 3, 5])
    level = RIDGE * np.trace(reader.covariance) / x.shape[1]
    for count, error in zip([1, 3, 5], found, strict=True):
        removed = reader.weight[reader.features(order[:count])]
        wanted = brute_force(reader, x, order[:count].tolist()) - level * np.square(removed).sum()
        assert error == pytest.approx(wanted, rel=1e-6)


def test_the_raw_error_of_every_width_is_that_of_features_that_are_zero() -> None:
    rng = np.random.default_rng(6)
    x = features(rng)
    reader = consumer(rng, x)
    units = np.array([[4, 1], [0, 3], [5, 2]])
    found = reader.errors_raw(units, [1, 2])
    for count, error in zip([1, 2], found, strict=True):
        gone = reader.features(units[:count].reshape(-1))
        lost = x[:, gone] @ reader.weight[gone]
        assert error == pytest.approx(np.square(lost).mean(0).sum() / reader.variance, rel=1e-6)
        assert error == pytest.approx(reader.error_raw(units[:count].reshape(-1)), rel=1e-9)


def test_ranks_keep_the_order_of_equals() -> None:
    np.testing.assert_array_equal(ranks(np.array([3.0, 1.0, 1.0, 0.0])), [3, 1, 2, 0])
