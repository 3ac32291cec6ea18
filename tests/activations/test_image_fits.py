"""Images of another shape, classes from folders, and functions from files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from onnxslim_snacs.activations.images import class_numbers, fitted
from onnxslim_snacs.activations.users import find_function
from onnxslim_snacs.errors import InputRefused, UsageError

#: Sixteen columns, each of its own brightness; eight rows.
STRIPES = Image.fromarray(np.tile(np.arange(16, dtype=np.uint8) * 10, (8, 1)))


def test_a_letterbox_shows_the_whole_image_on_grey() -> None:
    found = np.asarray(fitted(STRIPES, (16, 16), "letterbox"))
    assert found.shape == (16, 16)
    np.testing.assert_array_equal(found[4:12], np.asarray(STRIPES))
    assert (found[:4] == 114).all()
    assert (found[12:] == 114).all()


def test_a_crop_is_the_middle_at_an_eighth_more() -> None:
    """8 x 16 for 7 x 7: cut to 8 x 8, of which the middle 7 x 7 stays; columns 4 to 10."""
    found = np.asarray(fitted(STRIPES, (7, 7), "crop"))
    assert found.shape == (7, 7)
    np.testing.assert_array_equal(found[0], np.arange(4, 11) * 10)


def test_stretching_keeps_both_ends() -> None:
    found = np.asarray(fitted(STRIPES, (8, 8), "stretch")).astype(int)
    np.testing.assert_allclose(found[0], 5 + 20 * np.arange(8), atol=3)


def test_classes_are_the_folders_in_the_order_of_their_names(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("b/x.png", "a/y.png", "c/z/w.png", "a/x.png")]
    assert class_numbers(paths, tmp_path, 3).tolist() == [1, 0, 2, 0]
    assert class_numbers(paths, tmp_path, None).tolist() == [1, 0, 2, 0]
    with pytest.raises(InputRefused, match=r"3 folders with images .a, b, c.*4 classes"):
        class_numbers(paths, tmp_path, 4)
    with pytest.raises(InputRefused, match="no folder of a class"):
        class_numbers([tmp_path / "x.png"], tmp_path, 1)


def test_a_function_may_lie_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "beside_it.py").write_text("NUMBER = 7\n")
    path = tmp_path / "my data.py"
    path.write_text("import beside_it\ndef samples():\n    return beside_it.NUMBER\n")
    assert find_function("--data", f"{path}:samples")() == 7
    for wrong in (f"{path}:other", f"{tmp_path / 'none.py'}:samples"):
        with pytest.raises(UsageError, match="--data"):
            find_function("--data", wrong)
    path.write_text("1 / 0")
    with pytest.raises(InputRefused, match="ZeroDivisionError"):
        find_function("--data", f"{path}:samples")
