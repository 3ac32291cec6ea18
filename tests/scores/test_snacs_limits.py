from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from onnxslim_snacs.scores.snacs.classifier import fit_rbf_ridge
from onnxslim_snacs.scores.snacs.limits import (
    SHARES,
    PooledLayer,
    first_crossing,
    last_above,
    operating_limit,
    rectified,
    removed_at_cutoff,
    removed_lowest,
)
from onnxslim_snacs.scores.snacs.sensitivity import (
    legacy_lowest_signed,
    protected_share,
    sensitivity,
)

FloatArray = npt.NDArray[np.float64]


def test_sweep_is_the_released_one() -> None:
    assert SHARES[[0, 1, -1]] == pytest.approx([0.01, 0.06, 0.96])


def test_limit_rules_differ_on_a_curve_that_recovers() -> None:
    shares = np.array([0.1, 0.3, 0.5, 0.7, 0.9])
    scores = np.array([1.0, 0.6, 0.2, 0.5, 0.0])  # the line is at 0.3
    assert first_crossing(shares, scores) == 0.3
    assert last_above(shares, scores) == 0.7
    assert first_crossing(shares, scores[::-1]) == 0.0
    assert first_crossing(shares, np.ones(5)) == 0.9


def test_removal_of_ties() -> None:
    rho = np.array([[0.0, 0.0], [0.0, 1.0]])
    assert removed_lowest(rho, 0.5).tolist() == [[True, True], [False, False]]
    assert removed_lowest(rho, 0.0).sum() == 0
    assert removed_at_cutoff(rho, 0.0).tolist() == [[True, True], [True, False]]
    assert removed_at_cutoff(rho, 1.0).all()


def classes_by_two_parents(samples: int = 600) -> tuple[PooledLayer, npt.NDArray[np.int64]]:
    """Ten parents, of which the first two carry four classes; ten children read all of them."""
    rng = np.random.default_rng(0)
    labels = np.arange(samples) % 4
    patches = rng.standard_normal((samples, 10, 3))
    patches[:, 0] += 6 * (labels[:, None] % 2)
    patches[:, 1] += 6 * (labels[:, None] // 2)
    return PooledLayer(patches, rng.standard_normal((10, 10, 3)), rng.standard_normal(10)), labels


def rho_of(best: list[int]) -> FloatArray:
    rho = np.random.default_rng(1).random((10, 10))
    rho[:, best] += 1.0
    return rho


def test_limit_is_high_where_rho_keeps_the_parents_that_matter() -> None:
    layer, labels = classes_by_two_parents()
    good = operating_limit(layer, rho_of([0, 1]), labels)
    bad = operating_limit(layer, rho_of([8, 9]), labels)
    assert good.scores[0] > 0.9
    assert good.gamma > bad.gamma
    released = operating_limit(
        layer,
        rho_of([0, 1]),
        labels,
        rule=last_above,
        removal=removed_at_cutoff,
        activation=rectified,
    )
    assert 0.0 < released.gamma < 1.0


def test_accuracy_is_held_out() -> None:
    layer, _ = classes_by_two_parents()
    guesses = np.random.default_rng(9).integers(0, 4, 600)
    limit = operating_limit(layer, rho_of([0, 1]), guesses)
    assert limit.scores.max() < 0.35


def test_without_labels_the_score_is_the_relative_error() -> None:
    layer, _ = classes_by_two_parents()
    rho = rho_of([0, 1])
    limit = operating_limit(layer, rho)
    keep = ~removed_lowest(rho, SHARES[4])
    whole = np.einsum("npk,cpk->nc", layer.patches, layer.weights)
    cut = np.einsum("npk,cpk,cp->nc", layer.patches, layer.weights, keep)
    error = np.linalg.norm(cut - whole) / np.linalg.norm(whole - whole.mean(axis=0))
    assert limit.scores[4] == pytest.approx(1 - error)
    assert limit.scores[0] > limit.scores[-1]


def test_labels_of_one_class_fall_back_to_the_relative_error() -> None:
    layer, labels = classes_by_two_parents()
    same = operating_limit(layer, rho_of([0, 1]), np.zeros_like(labels))
    assert np.array_equal(same.scores, operating_limit(layer, rho_of([0, 1])).scores)


def test_limits_repeat() -> None:
    layer, labels = classes_by_two_parents()
    one, two = (operating_limit(layer, rho_of([0, 1]), labels, seed=4) for _ in range(2))
    assert np.array_equal(one.scores, two.scores)


def test_classifier_bends() -> None:
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((800, 2))
    labels = (np.hypot(*rows.T) > 1.2).astype(np.int64) + 5
    model = fit_rbf_ridge(rows[:400], labels[:400], rng)
    assert np.mean(model.predict(rows[400:]) == labels[400:]) > 0.95


def test_sensitivity_is_the_mean_row_share() -> None:
    weights = np.array([[1.0, 3.0], [2.0, 2.0], [0.0, 0.0]])
    assert sensitivity(weights) == pytest.approx([0.375, 0.625])
    assert sensitivity(np.zeros((2, 3))) == pytest.approx([0, 0, 0])


def test_protection_keeps_the_strongest_and_legacy_the_weakest() -> None:
    scores = np.full(50, 0.02)
    scores[7] = 0.5
    assert np.flatnonzero(protected_share(scores, 0.04)).tolist() == [0, 7]
    weights = np.array([[0.1, 0.9, 0.5]])
    assert legacy_lowest_signed(weights, 1 / 3).tolist() == [True, False, False]
    assert protected_share(sensitivity(weights), 1 / 3).tolist() == [False, True, False]
