"""Samples made from samples, on numbers that show where they came from."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxslim_snacs.activations.inputs import InputSpec
from onnxslim_snacs.training.augment import augmented, image_sides


def spec(*dims: int | None, name: str = "x", dtype: str = "float32") -> InputSpec:
    return InputSpec(name, dims, np.dtype(dtype))


def images(count: int = 64, layout: str = "NCHW") -> NDArray[Any]:
    """Each pixel says its column, in the second colour its row."""
    row, column = np.mgrid[0:16, 0:16].astype(np.float32)
    one = np.stack([column, row, column])
    found = np.stack([one] * count)
    return found if layout == "NCHW" else found.transpose(0, 2, 3, 1)


def change(values: NDArray[Any], *ways: str, seed: int = 0) -> Any:
    dims = (None, *values.shape[1:])
    return augmented({"x": values}, [spec(*dims)], ways, np.random.default_rng(seed))


def test_half_of_the_images_are_turned_round_and_the_others_are_not() -> None:
    before = images()
    after = change(before, "flip").inputs["x"]
    turned = (after == before[..., ::-1]).all(axis=(1, 2, 3))
    same = (after == before).all(axis=(1, 2, 3))
    assert (turned ^ same).all()
    assert 20 < turned.sum() < 44


def test_images_move_by_at_most_an_eighth_and_their_edges_are_drawn_out() -> None:
    after = change(images(), "shift").inputs["x"]
    columns, rows = after[:, 0, 8], after[:, 1, :, 8]
    for line in (columns, rows):
        assert np.isin(np.diff(line, axis=1), (0.0, 1.0)).all()
        steps = line[:, 8] - 8
        assert set(steps) == {-2.0, -1.0, 0.0, 1.0, 2.0}
    assert len({(a, b) for a, b in zip(columns[:, 8], rows[:, 8], strict=True)}) > 10


def test_colours_may_lie_behind() -> None:
    front = change(images(layout="NCHW"), "flip", "shift").inputs["x"]
    behind = change(images(layout="NHWC"), "flip", "shift").inputs["x"]
    np.testing.assert_array_equal(front, behind.transpose(0, 3, 1, 2))


def test_mixed_samples_are_the_weighted_sum_of_two_and_the_first_weighs_more() -> None:
    before = np.arange(64, dtype=np.float32)[:, None]
    made = change(before, "mix")
    wanted = before[:, 0] * (1 - made.share) + before[made.other, 0] * made.share
    np.testing.assert_allclose(made.inputs["x"][:, 0], wanted, rtol=1e-6)
    assert made.share.max() <= 0.5
    assert 16 < (made.share == 0).sum() < 48


def test_what_is_no_image_is_not_turned_and_numbers_of_things_are_not_mixed() -> None:
    tokens = np.arange(12).reshape(3, 4)
    inputs: dict[str, NDArray[Any]] = {"x": tokens, "y": np.ones((3, 2), np.float32)}
    specs = [spec(None, 4, dtype="int64"), spec(None, 2, name="y")]
    made = augmented(inputs, specs, ("flip", "shift", "mix"), np.random.default_rng(0))
    assert all((made.inputs[name] == inputs[name]).all() for name in inputs)
    assert not made.share.any()
    maps = {"x": np.zeros((2, 16, 9, 9), np.float32)}
    assert image_sides(maps, [spec(None, 16, 9, 9)]) == {}


def test_the_same_seed_changes_samples_in_the_same_way() -> None:
    first, again, other = (
        change(images(), "flip", "shift", "mix", seed=s).inputs["x"] for s in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
