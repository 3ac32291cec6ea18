"""What the judge says about changed answers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from onnxslim_snacs.activations.run import comparable
from onnxslim_snacs.judge.drift import Answers, Drift, drift, flip_risk, share_error

CLASSES = 10


def logits(rng: np.random.Generator, samples: int) -> np.ndarray:
    return 2.0 * rng.standard_normal((samples, CLASSES))


@pytest.mark.parametrize("noise", [0.05, 0.2, 0.5])
def test_the_risk_is_the_share_of_answers_that_change(noise: float) -> None:
    rng = np.random.default_rng(0)
    wanted = logits(rng, 40_000)
    got = wanted + noise * rng.standard_normal(wanted.shape)
    changed = float(np.mean(wanted.argmax(axis=1) != got.argmax(axis=1)))
    parts = [flip_risk(wanted[k : k + 500], got[k : k + 500]) for k in range(0, 40_000, 500)]
    assert np.mean(parts) == pytest.approx(changed, rel=0.1)


def test_the_risk_varies_less_from_sample_to_sample_than_the_count_does() -> None:
    rng = np.random.default_rng(1)
    counts, risks = [], []
    for _ in range(200):
        wanted = logits(rng, 250)
        got = wanted + 0.1 * rng.standard_normal(wanted.shape)
        counts.append(np.mean(wanted.argmax(axis=1) != got.argmax(axis=1)))
        risks.append(flip_risk(wanted, got))
    assert np.std(risks) < 0.8 * np.std(counts)


def test_probabilities_and_their_logarithms_say_the_same() -> None:
    rng = np.random.default_rng(2)
    wanted = logits(rng, 300)
    got = wanted + 0.3 * rng.standard_normal(wanted.shape)

    def softmax(values: np.ndarray) -> np.ndarray:
        powers = np.exp(values)
        return np.asarray(powers / powers.sum(axis=1, keepdims=True))

    assert flip_risk(softmax(wanted), softmax(got)) == pytest.approx(flip_risk(wanted, got))


def test_nothing_moved_is_no_risk_and_what_is_not_finite_says_nothing() -> None:
    wanted = logits(np.random.default_rng(3), 8)
    assert flip_risk(wanted, wanted) == 0.0
    assert flip_risk(wanted, np.full_like(wanted, np.nan)) == 0.0


def test_the_standard_error_is_never_nothing() -> None:
    assert share_error(1.0, 250) == pytest.approx(0.0055, abs=1e-4)
    assert share_error(0.5, 100) == pytest.approx(0.05, abs=1e-3)


def test_the_worse_of_count_and_risk_counts() -> None:
    lucky = Drift(250, 0.1, 1.0, 0.0055, 0.02)
    assert lucky.drop == 0.02
    assert Drift(250, 0.1, 0.9, 0.0055, 0.02).drop == pytest.approx(0.1)


def test_classes_with_dimensions_of_one_behind_are_classes() -> None:
    rng = np.random.default_rng(3)
    wanted, got = logits(rng, 50), logits(rng, 50)
    flat = drift(said(wanted), said(got))
    deep = drift(*(said(x[:, :, None, None]) for x in (wanted, got)))
    assert flat.top1_agreement is not None
    assert flat == deep
    maps = drift(*(said(x.reshape(50, 5, 2)) for x in (wanted, got)))
    assert maps.top1_agreement is None
    anchors = drift(*(said(x[:, :, None]) for x in (wanted, got)))
    assert anchors.top1_agreement is None


def said(*outputs: np.ndarray) -> Answers:
    return Answers(tuple((o,) for o in comparable(outputs)), (len(outputs[0]),))


def test_what_a_quantised_model_says_counts() -> None:
    rng = np.random.default_rng(4)
    wanted, got = (rng.integers(-128, 128, (60, CLASSES)).astype(np.int8) for _ in range(2))
    ids = np.arange(60)
    moved = drift(said(wanted, ids), said(got, ids + 1))
    assert moved.top1_agreement == np.mean(wanted.argmax(axis=1) == got.argmax(axis=1))
    assert moved.drop > 0.5


def test_a_model_that_only_numbers_classes_is_compared_by_them() -> None:
    wanted = np.arange(60).reshape(30, 2)
    got = wanted.copy()
    got[:6] += 1
    moved = drift(said(wanted), said(got))
    assert moved.rel_error == moved.drop == pytest.approx(0.2)
    assert moved.top1_agreement is None
    floats = np.ones((30, 2), np.float32)
    assert drift(said(floats, wanted), said(floats, got)).drop == 0


def test_agreement_of_a_model_that_always_says_the_same_is_no_evidence() -> None:
    rng = np.random.default_rng(5)
    wanted, got = (0.1 * rng.standard_normal((60, CLASSES)) for _ in range(2))
    wanted[:, 3] += 9
    got[:, 3] += 4
    moved = drift(said(wanted), said(got))
    assert moved.top1_agreement == 1.0
    assert not moved.is_telling
    assert moved.drop == moved.rel_error > 0.3
    other = np.roll(wanted, 1, axis=1)
    both = drift(said(np.concatenate([wanted, other])), said(np.concatenate([got, other])))
    assert both.is_telling
    assert both.drop < both.rel_error


def test_runs_of_different_extents_are_compared_one_by_one() -> None:
    short, long = np.full((1, 2, 3), 2.0), np.full((1, 4, 3), 1.0)
    told = Answers(((short, long),), (1, 1))
    moved = drift(told, Answers(((short, long + 0.5),), (1, 1)))
    assert moved.samples == 2
    # |difference|^2 = 12 x 0.25; |output|^2 = 6 x 4 + 12 x 1
    assert moved.rel_error == pytest.approx((3.0 / 36.0) ** 0.5)
    lost = drift(told, Answers(((short, np.zeros((1, 5, 3))),), (1, 1)))
    assert lost.rel_error == pytest.approx((12.0 / 36.0) ** 0.5)  # all of the second run


def test_rows_that_are_not_samples_are_no_classes() -> None:
    rng = np.random.default_rng(6)
    scores, other = logits(rng, 8), logits(rng, 8)
    for samples in (4, 2, 8):  # steps, boxes, samples
        moved = drift(*(Answers(((x,),), (samples,)) for x in (scores, other)))
        assert (moved.top1_agreement is not None) == (samples == 8)
        assert moved.samples == samples
    split = drift(*(Answers(((x[:6], x[6:]),), (6, 2)) for x in (scores, other)))
    whole = drift(said(scores), said(other))
    assert replace(split, rel_error=0.0) == replace(whole, rel_error=0.0)
    assert split.rel_error == pytest.approx(whole.rel_error, rel=1e-12)
