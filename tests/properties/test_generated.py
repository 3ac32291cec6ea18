"""P1-P8 over generated networks; a failure names the seeds.

To look at one: `cut(sample(seed, integer))` of `checks` and `generator`.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.properties.checks import (
    Check,
    cut,
    p1_bit_equal,
    p2_close,
    p3_gather,
    p4_nothing_cut,
    p5_fixed_point,
    p6_valid,
    p7_bookkeeping,
    p8_monotone,
)
from tests.properties.counts import Failures, chunks, piece_name
from tests.properties.families import FAMILIES
from tests.properties.generator import sample

ALWAYS = (p4_nothing_cut, p6_valid, p7_bookkeeping, p8_monotone)
#: P5 needs a second analysis; its share of the seeds keeps the counts of the other properties.
FIXED_POINT_EVERY = 5


def hold(piece: range, checks: Sequence[Check], *, integer: bool, allow_inexact: bool) -> None:
    """Every seed of a piece has every property."""
    failures, cutting = Failures(), 0
    for seed in piece:
        made = sample(seed, integer)
        case = f"sample({seed}, {integer}) {' '.join(made.families)}"
        try:
            one = cut(made, allow_inexact=allow_inexact)
        except Exception as error:
            failures.add(f"{case}: analysis", error)
            continue
        cutting += bool(one.keep.kept)
        extra = () if seed % FIXED_POINT_EVERY else (p5_fixed_point,)
        for check in (*checks, *extra):
            try:
                check(one)
            except Exception as error:
                failures.add(f"{case}: {check.__name__}", error)
    assert not list(failures), failures.report()
    assert cutting >= 0.9 * len(piece) - 1, "the generator makes too little that can be cut"


@pytest.mark.parametrize("piece", chunks(500, 10_000), ids=piece_name)
def test_integers_are_bit_equal(piece: range) -> None:
    checks = (p1_bit_equal, p3_gather, *ALWAYS)
    hold(piece, checks, integer=True, allow_inexact=False)


@pytest.mark.parametrize("piece", chunks(500, 10_000), ids=piece_name)
def test_floats_are_close(piece: range) -> None:
    hold(piece, (p2_close, p3_gather, *ALWAYS), integer=False, allow_inexact=False)


@pytest.mark.parametrize("piece", chunks(250, 2_500), ids=piece_name)
def test_inexact_cuts_agree_with_the_gather_oracle(piece: range) -> None:
    checks = (p2_close, p3_gather, p4_nothing_cut, p6_valid)
    hold(piece, checks, integer=False, allow_inexact=True)


def test_every_family_is_drawn() -> None:
    samples = [sample(seed, mode) for seed in range(len(FAMILIES)) for mode in (True, False)]
    assert {name for one in samples for name in one.families} == {f.name for f in FAMILIES}


def test_a_seed_says_it_all() -> None:
    first = sample(3, True).model.SerializeToString()
    sample.cache_clear()
    assert sample(3, True).model.SerializeToString() == first
