"""Corrections of error curves, and the search for them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from onnxslim_snacs.decide.tilt import Place, Tilt, climb, factor, places, tilted
from tests.harness import model_from_text, read

RESIDUAL = """
<ir_version: 10, opset_import: ["" : 21]>
residual (float[2,3,8,8] x, float[6,3,1,1] w_stem, float[5,6,1,1] w_inner, float[6,5,1,1] w_back,
  float[6,4] w_head) => (float[2,4] y) {
  stream = Conv(x, w_stem)
  hidden = Conv(stream, w_inner)
  shown = Relu(hidden)
  branch = Conv(shown, w_back)
  sum = Add(stream, branch)
  mean = GlobalAveragePool(sum)
  flat = Flatten(mean)
  y = MatMul(flat, w_head)
}
"""


def test_a_stream_has_more_readers_than_what_lies_within_a_block() -> None:
    ir = read(model_from_text(RESIDUAL)).ir
    found = {group.units: places(ir)[group.id] for group in ir.groups}
    assert found[6].readers == 2
    assert found[5].readers == 1
    assert 0.0 < found[5].depth < found[6].depth < 1.0


def test_the_factor_is_one_without_correction_and_grows_with_readers_and_depth() -> None:
    assert factor(Place(9, 0.3), Tilt(0.0, 0.0)) == 1.0
    assert factor(Place(9, 0.5), Tilt(0.5, 0.0)) == pytest.approx(3.0)
    assert factor(Place(1, 1.0), Tilt(0.5, 2.0)) == pytest.approx(np.e)


def test_the_order_within_a_group_stays() -> None:
    values = np.array([0.3, 0.1, 0.2])
    slopes = tilted({"a": values, "b": values}, {"a": Place(4, 0.9)}, Tilt(0.5, 1.0))
    np.testing.assert_array_equal(np.argsort(slopes["a"]), np.argsort(values))
    np.testing.assert_array_equal(slopes["b"], values)


def test_climbing_finds_the_valley_and_judges_nothing_twice() -> None:
    seen: list[Tilt] = []

    def errors(tilts: Sequence[Tilt]) -> list[float]:
        seen.extend(tilts)
        return [(t.sharing - 0.5) ** 2 + 0.1 * (t.depth - 1.0) ** 2 for t in tilts]

    best, tried = climb(errors, 12, Tilt())
    assert best == Tilt(0.5, 1.0)
    assert [tilt for tilt, _ in tried] == seen
    assert len(set(seen)) == len(seen) <= 12


@pytest.mark.parametrize("tries", [0, 1])
def test_without_tries_the_start_is_taken_unjudged(tries: int) -> None:
    assert climb(lambda tilts: [1 / 0 for _ in tilts], tries, Tilt()) == (Tilt(), ())


def test_tries_are_a_limit() -> None:
    seen: list[Tilt] = []

    def errors(tilts: Sequence[Tilt]) -> list[float]:
        seen.extend(tilts)
        return [-tilt.sharing for tilt in tilts]

    climb(errors, 4, Tilt())
    assert len(seen) == 4
