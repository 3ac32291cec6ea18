from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from onnxslim_snacs.errors import InputRefused, UsageError
from onnxslim_snacs.scores.snacs.acmi import HashOptions, acmi_hash
from onnxslim_snacs.scores.snacs.connectivity import connectivity
from onnxslim_snacs.scores.snacs.hashing import (
    group_starts,
    hash_complements,
    hash_units,
    quantile_buckets,
    singleton_share,
    standardised_rows,
)
from onnxslim_snacs.scores.snacs.phi import (
    PHI_FORMS,
    scale_weights,
    scale_weights_signed,
    weight_factor,
)

FloatArray = npt.NDArray[np.float64]


def layer(
    samples: int = 400, children: int = 8, parents: int = 12
) -> tuple[FloatArray, FloatArray, FloatArray]:
    rng = np.random.default_rng(11)
    y = np.maximum(rng.standard_normal((samples, parents)), 0)
    weights = rng.standard_normal((children, parents))
    return y @ weights.T, y, np.abs(weights) / np.abs(weights).max()


def test_quantile_buckets_are_equally_filled() -> None:
    values = np.random.default_rng(0).standard_normal((3, 400)).astype(np.float32)
    buckets = quantile_buckets(values, 4)
    assert [np.bincount(row).tolist() for row in buckets] == [[100] * 4] * 3


def test_two_parents_are_each_others_complement() -> None:
    rows = np.random.default_rng(0).standard_normal((2, 320)).astype(np.float32)
    z = hash_complements(rows, group_starts(2, None), 16, np.random.default_rng(1))
    for own, other in ((0, 1), (1, 0)):
        expected = quantile_buckets(rows[other : other + 1], 16)[0]
        # the projection may have turned the axis round
        assert np.array_equal(z[own], expected) or np.array_equal(z[own], 15 - expected)


def test_a_parent_alone_or_among_dead_ones_has_an_empty_complement() -> None:
    rows = np.zeros((3, 50), dtype=np.float32)
    rows[1] = np.linspace(-1, 1, 50)
    z = hash_complements(rows, group_starts(3, None), 16, np.random.default_rng(0))
    assert np.ptp(z[1]) == 0
    assert np.ptp(z[0]) > 0
    assert not hash_complements(
        rows[1:2], group_starts(1, None), 16, np.random.default_rng(0)
    ).any()


def test_complement_ignores_its_own_channel() -> None:
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((40, 2000)).astype(np.float32)
    z = hash_complements(rows, group_starts(40, None), 16, np.random.default_rng(0))
    counts = np.stack(
        [np.bincount(z[p].astype(int) * 2 + (rows[p] > 0), minlength=32) for p in range(40)]
    ).reshape(40, 16, 2)
    halves = counts / counts.sum(axis=2, keepdims=True)
    assert np.abs(halves.mean(axis=0) - 0.5).max() < 0.03


def test_wide_layers_with_one_strong_direction_fill_all_buckets() -> None:
    rng = np.random.default_rng(0)
    common = rng.standard_normal((1000, 1))
    rows = standardised_rows(3 * common + rng.standard_normal((1000, 512)))
    z = hash_complements(rows, group_starts(512, None), 16, np.random.default_rng(0))
    assert singleton_share(z) == 0
    assert np.bincount(z.ravel(), minlength=16).min() > 0.25 * z.size / 16


def test_singleton_share_counts_samples_alone() -> None:
    z = np.array([[0, 0, 1, 2], [3, 3, 3, 3]], dtype=np.uint8)
    assert singleton_share(z) == pytest.approx(2 / 8)


def test_z_buckets_give_way_where_samples_are_few() -> None:
    x, y, _ = layer(samples=40)
    _, quality = acmi_hash(x, y, HashOptions(z_buckets=256, cell_samples=0.0))
    assert quality.z_buckets < 256
    assert quality.singleton_share <= 0.5
    assert acmi_hash(x, y)[1].z_buckets == 1


def test_scores_are_weighted_information_and_repeat_with_the_seed() -> None:
    x, y, weights = layer()
    one = connectivity(x, y, weights, seed=3)
    assert one.rho.shape == one.information.shape == (8, 12)
    assert one.rho == pytest.approx(weights * one.information)
    assert np.array_equal(one.rho, connectivity(x, y, weights, seed=3).rho)
    assert not np.array_equal(one.rho, connectivity(x, y, weights, seed=4).rho)
    single = connectivity(x, y, weights, seed=3, options=HashOptions(threads=1))
    assert np.array_equal(one.rho, single.rho)


def test_scale_and_shift_of_channels_do_not_matter() -> None:
    x, y, weights = layer()
    plain = connectivity(x, y, weights).information
    folded = connectivity(2.0 * x + 1.0, 4.0 * y - 3.0, weights).information
    assert folded == pytest.approx(plain, abs=0.01)


def test_children_permute_with_their_scores() -> None:
    x, y, weights = layer()
    order = np.random.default_rng(0).permutation(8)
    moved = connectivity(x[:, order], y, weights[order])
    assert moved.rho == pytest.approx(connectivity(x, y, weights).rho[order], abs=1e-6)


@pytest.mark.parametrize("estimator", ["residual", "hash", "gaussian"])
def test_strong_connections_score_higher(estimator: str) -> None:
    x, y, weights = layer(samples=2000)
    information = connectivity(x, y, weights, estimator=estimator).information
    strong, weak = weights > np.quantile(weights, 0.7), weights < np.quantile(weights, 0.3)
    assert information[strong].mean() > 1.5 * information[weak].mean()


@pytest.mark.parametrize("phi", list(PHI_FORMS))
def test_every_phi_form_scores(phi: str) -> None:
    x, y, weights = layer()
    rho = connectivity(x, y, weights, phi=phi, estimator="hash").rho
    assert np.isfinite(rho).all()
    assert rho.min() >= 0
    assert rho.max() > 0


def test_groups_share_a_score_and_their_mean_weight() -> None:
    x, y, weights = layer()
    got = connectivity(x, y, weights, groups=(2, 3))
    blocks = got.rho.reshape(2, 4, 3, 4)
    assert np.ptp(blocks, axis=(1, 3)).max() == 0
    assert blocks[:, 0, :, 0] == pytest.approx(
        weights.reshape(2, 4, 3, 4).mean(axis=(1, 3)) * got.information[::4, ::4]
    )
    fine = connectivity(x, y, weights, groups=12).rho
    assert np.array_equal(fine, connectivity(x, y, weights).rho)


def test_groups_that_do_not_divide_are_nearly_equal() -> None:
    assert group_starts(10, 4).tolist() == [0, 2, 5, 7]
    rows = np.random.default_rng(0).standard_normal((10, 100)).astype(np.float32)
    buckets = hash_units(rows, group_starts(10, 4), 4, np.random.default_rng(0))
    assert buckets.shape == (4, 100)
    assert buckets.max() == 3


def test_weights_share_one_scale() -> None:
    first, second = scale_weights([np.array([[-4.0, 1.0]]), np.array([[[0.0, 2.0]]])])
    assert first == pytest.approx(np.array([[1.0, 0.25]]))
    assert second == pytest.approx(np.array([[0.25]]))
    (signed,) = scale_weights_signed([np.array([[-4.0, 1.0, 0.0]])])
    assert signed == pytest.approx(np.array([[0.0, 1.0, 0.8]]))
    assert weight_factor("exp_weight", np.array([[1.0]])) == pytest.approx(np.exp(-0.5))
    assert weight_factor("weight_sq", np.array([[0.5]])) == pytest.approx(0.25)


def test_bad_requests_are_refused() -> None:
    x, y, weights = layer()
    with pytest.raises(UsageError, match="phi must be one of"):
        connectivity(x, y, weights, phi="nothing")
    with pytest.raises(UsageError, match="estimator must be one of"):
        connectivity(x, y, weights, estimator="mst")
    for estimator in ("gaussian", "residual"):
        with pytest.raises(UsageError, match="hash cells"):
            connectivity(x, y, weights, phi="act", estimator=estimator)
    with pytest.raises(InputRefused, match="weights"):
        connectivity(x, y, weights.T)
    with pytest.raises(InputRefused, match="too few"):
        connectivity(x[:4], y[:4], weights)
    with pytest.raises(InputRefused, match="activations"):
        connectivity(x[:-1], y, weights)
    x[0, 0] = np.nan
    with pytest.raises(InputRefused, match="finite"):
        connectivity(x, y, weights)
