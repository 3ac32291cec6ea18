"""Decisions against budgets on made-up groups, whose costs can be worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from onnxslim_snacs.decide.allocation import Allocation, Constraints, by_quantile, staggered
from onnxslim_snacs.decide.choose import by_drop, by_target
from onnxslim_snacs.decide.latency import by_latency, require_faster
from onnxslim_snacs.errors import NothingToPrune
from onnxslim_snacs.ir.types import Axis, Group, GroupAxis
from onnxslim_snacs.plan.kept import Kept

SIZES = (10, 20, 40)
GROUPS = tuple(
    Group(f"g{k}", f"w{k}[0]", n, (GroupAxis(Axis(f"w{k}", 0), np.arange(n)[:, None]),))
    for k, n in enumerate(SIZES)
)
SCORES = {g.id: np.random.default_rng(k).random(g.units) for k, g in enumerate(GROUPS)}
FREE = Constraints()


def left(kept: Kept) -> float:
    return float(sum(int(stays.sum()) for stays in kept.values()) / sum(SIZES))


@pytest.mark.parametrize("allocate", [staggered, by_quantile])
@pytest.mark.parametrize("share", [0.3, 0.5, 0.9])
def test_target_is_met_closely_and_the_best_stay(share: float, allocate: Allocation) -> None:
    choice = by_target(GROUPS, SCORES, lambda k: left(k) / share, FREE, allocate=allocate)
    assert share - 1.5 / sum(SIZES) <= left(choice.kept) <= share
    for group in GROUPS:
        stays, scores = choice.kept[group.id], SCORES[group.id]
        if not stays.all():
            assert scores[stays].min() > scores[~stays].max()


@pytest.mark.parametrize("allocate", [staggered, by_quantile])
def test_latency_is_bisected_with_few_measurements(allocate: Allocation) -> None:
    measured: list[float] = []

    def stopwatch(kept: Kept) -> float:
        measured.append(0.2 + 0.8 * left(kept))
        return measured[-1]

    choice = by_latency(GROUPS, SCORES, stopwatch, 0.6, lambda kept: 0.0, FREE, allocate=allocate)
    assert 0.55 < 0.2 + 0.8 * left(choice.kept) <= 0.6
    assert len(measured) <= 11


def test_latency_goes_beyond_limits_and_tells() -> None:
    tight = Constraints(limits={g.id: 0.1 for g in GROUPS})
    choice = by_latency(GROUPS, SCORES, left, 0.5, lambda kept: 0.0, tight, allocate=staggered)
    assert left(choice.kept) <= 0.5
    assert set(choice.exceeded) == {g.id for g in GROUPS}


def test_other_budgets_hold_beside_latency() -> None:
    calls: list[float] = []

    def stopwatch(kept: Kept) -> float:
        calls.append(left(kept))
        return left(kept)

    both = by_latency(
        GROUPS, SCORES, stopwatch, 0.8, lambda k: left(k) / 0.4, FREE, allocate=staggered
    )
    assert left(both.kept) <= 0.4
    assert len(calls) == 1  # the other budget has made it fast enough
    both = by_latency(GROUPS, SCORES, left, 0.3, lambda k: left(k) / 0.4, FREE, allocate=staggered)
    assert left(both.kept) <= 0.3


def test_latency_out_of_reach() -> None:
    with pytest.raises(NothingToPrune, match=r"still takes 0\.70"):
        by_latency(GROUPS, SCORES, lambda k: 0.7, 0.5, lambda k: 0.0, FREE, allocate=staggered)
    with pytest.raises(NothingToPrune, match=r"1\.00"):
        require_faster(1.0)
    require_faster(0.99)


def test_drop_is_never_exceeded() -> None:
    choice = by_drop(GROUPS, SCORES, lambda k: 1 - left(k), 0.25, FREE, allocate=by_quantile)
    assert 0.75 <= left(choice.kept) < 0.8
    one_in_a_hundred = by_drop(GROUPS, SCORES, lambda k: 1 - 0.99, 0.01, FREE, allocate=by_quantile)
    assert one_in_a_hundred.tried[0][0] == 1.0
    assert left(one_in_a_hundred.kept) == 3 / sum(SIZES)
    assert by_drop(GROUPS, SCORES, lambda k: 0.0, 0.0, FREE, allocate=by_quantile).tried == (
        (1.0, 0.0),
    )


def test_a_drop_that_was_judged_too_well_is_taken_back() -> None:
    def honest(kept: Kept) -> float:
        return 1 - left(kept)

    choice = by_drop(
        GROUPS, SCORES, lambda k: honest(k) / 2, 0.25, FREE, allocate=by_quantile, confirm=honest
    )
    assert 0.75 <= left(choice.kept) < 0.85
    hopeless = by_drop(
        GROUPS, SCORES, lambda k: 0.0, 0.1, FREE, allocate=by_quantile, confirm=lambda k: 1.0
    )
    assert left(hopeless.kept) == 1


def test_a_lucky_measurement_does_not_decide() -> None:
    """The search is told times that are a fifth too short; the cut that is taken really holds."""

    def lucky(kept: Kept) -> float:
        return 0.8 * left(kept)

    fooled = by_latency(GROUPS, SCORES, lucky, 0.5, lambda k: 0.0, FREE, allocate=by_quantile)
    assert left(fooled.kept) > 0.5
    choice = by_latency(
        GROUPS, SCORES, lucky, 0.5, lambda k: 0.0, FREE, allocate=by_quantile, confirm=left
    )
    assert 0.45 < left(choice.kept) <= 0.5
    hopeless = by_latency(
        GROUPS, SCORES, lucky, 0.5, lambda k: 0.0, FREE, allocate=by_quantile, confirm=lambda k: 1.0
    )
    assert left(hopeless.kept) == left(fooled.kept)


def test_a_measured_cut_is_confirmed() -> None:
    """The short stopwatch flatters by a tenth: the result holds by the long one."""

    def long(kept: Kept) -> float:
        return 0.2 + 0.8 * left(kept)

    def short(kept: Kept) -> float:
        return long(kept) - 0.1

    found = by_latency(
        GROUPS, SCORES, short, 0.6, lambda kept: 0.0, FREE, allocate=by_quantile, confirm=long
    )
    assert 0.57 < long(found.kept) <= 0.6
    lucky = by_latency(GROUPS, SCORES, short, 0.6, lambda kept: 0.0, FREE, allocate=by_quantile)
    assert long(lucky.kept) > 0.65


def test_scores_decide_between_groups() -> None:
    """All units of one group are worth more than any of the others: those go first."""
    scores = {g.id: 100.0 * (k == 1) + SCORES[g.id] for k, g in enumerate(GROUPS)}
    choice = by_target(GROUPS, scores, lambda k: left(k) / 0.5, FREE, allocate=by_quantile)
    assert [int((~choice.kept[g.id]).sum()) for g in GROUPS][1] == 0
    even = by_target(GROUPS, scores, lambda k: left(k) / 0.5, FREE, allocate=staggered)
    shares = [choice.mean() for choice in even.kept.values()]
    assert max(shares) - min(shares) < 0.1
