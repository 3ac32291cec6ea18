"""Options that say where samples come from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.cli.arriving.kit import (
    ANY_SIZE,
    CHANNELS_LAST,
    COLOUR,
    IMAGE,
    QUICK,
    Kit,
    answering,
    fed,
)


def data(kit: Kit, run: Callable[..., Any]) -> None:
    runtime = kit.runtime()
    run("--data", kit.data(value=7.5))
    assert any((values[:, 0] == 7.5).all() for values in fed(runtime))
    runtime = kit.runtime()
    run()
    assert not any((values[:, 0] == 7.5).all() for values in fed(runtime))


def samples(kit: Kit) -> None:
    """A quarter is held out."""
    line = (*QUICK, "--data", kit.data(80))
    assert kit.compress(*line)["drift"]["samples"] == 20
    assert kit.compress(*line, "--samples", 24)["drift"]["samples"] == 6


def pixels(kit: Kit, *line: object, text: str = IMAGE, axis: int = 1) -> tuple[Any, Any]:
    """(shape of a sample, its colour) as the model is given them."""
    runtime = kit.runtime()
    kit.compress(*QUICK, "--data", kit.images(), *line, text=text)
    (colours,) = {
        tuple(np.moveaxis(v, axis, -1)[0, 0, 0].round(5).tolist())
        for opened in answering(runtime)
        for v in [f["x"] for f in opened.feeds]
        if opened.level == 3 and "x" in opened.inputs
    }
    shapes = {v.shape[1:] for v in fed(runtime)}
    return shapes, colours


def mean(kit: Kit) -> None:
    plain = tuple(round(v / 255, 5) for v in COLOUR)
    assert pixels(kit)[1] == pytest.approx(plain)
    assert pixels(kit, "--mean", "0.1,0.2,0.3")[1] == pytest.approx((0.1, 0.2, 0.7))


def std(kit: Kit) -> None:
    assert pixels(kit, "--std", "0.5,0.25,2")[1] == pytest.approx((0.4, 1.6, 0.5))


def size(kit: Kit) -> None:
    kit.compress(*QUICK, "--data", kit.images(), text=ANY_SIZE, code=2)
    assert (3, 5, 7) in pixels(kit, "--size", "5,7", text=ANY_SIZE)[0]


def layout(kit: Kit) -> None:
    line = (*QUICK, "--data", kit.images())
    kit.compress(*line, text=CHANNELS_LAST, code=3)
    found = pixels(kit, "--layout", "NHWC", "--mean", "0,0,1", text=CHANNELS_LAST, axis=3)
    assert found[0] == {(6, 6, 3)}
    assert found[1] == pytest.approx((0.2, 0.4, 0.0))


def bgr(kit: Kit) -> None:
    plain = [round(v / 255, 5) for v in COLOUR]
    assert pixels(kit, "--bgr")[1] == pytest.approx(tuple(reversed(plain)))


def fit(kit: Kit) -> None:
    """Of a picture twice as wide as high, the first pixel, and that in the middle of the height."""
    found = {}
    for how in ("stretch", "crop", "letterbox"):
        runtime = kit.runtime()
        kit.compress(*QUICK, "--data", kit.images(12), "--fit", how, text=IMAGE)
        first = next(v for v in fed(runtime) if v.shape[2:] == (6, 6) and v.max() <= 1 and v.any())
        found[how] = first[0, 0, 0, 0], first[0, 0, 3, 0]
    colour = COLOUR[0] / 255
    assert found["stretch"] == pytest.approx((colour, colour))
    assert found["crop"] == pytest.approx((colour, colour))
    assert found["letterbox"] == pytest.approx((114 / 255, colour))


def preset(kit: Kit) -> None:
    wanted = [
        (v / 255 - mean) / std
        for v, mean, std in zip(COLOUR, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), strict=True)
    ]
    assert pixels(kit, "--preset", "imagenet")[1] == pytest.approx(tuple(wanted), abs=1e-4)
    own = pixels(kit, "--preset", "imagenet", "--mean", "0", "--std", "1")[1]
    assert own == pytest.approx(tuple(v / 255 for v in COLOUR), abs=1e-4)
    assert pixels(kit, "--preset", "yolox")[1] == pytest.approx(tuple(reversed(COLOUR)), abs=1e-2)


def class_folders(kit: Kit, run: Callable[..., Any]) -> None:
    images = kit.images(classes=("cat", "dog", "owl"))
    assert run("--data", images, text=IMAGE)["drift"]["accuracy_before"] is None
    line = ("--data", images, "--class-folders")
    assert 0 <= run(*line, text=IMAGE)["drift"]["accuracy_before"] <= 1
    few = kit.images(classes=("cat", "dog"))
    run("--data", few, "--class-folders", text=IMAGE, code=3)
    run("--data", kit.images(), "--class-folders", text=IMAGE, code=3)


def input_shape(kit: Kit, run: Callable[..., Any]) -> None:
    runtime = kit.runtime()
    run()
    assert not any(values.shape[1] == 11 for values in fed(runtime))
    runtime = kit.runtime()
    run("--input-shape", "x=2,11,4")
    assert any(values.shape[1] == 11 for values in fed(runtime))


def sample_axis(kit: Kit, run: Callable[..., Any]) -> None:
    """Five steps of so many samples, instead of samples of five steps."""
    runtime = kit.runtime()
    run("--data", kit.steps())
    assert any(values.shape[1] == 5 for values in fed(runtime))
    runtime = kit.runtime()
    run("--data", kit.steps(), "--sample-axis", "x=1")
    on_data = [v.shape for v in fed(runtime) if v.shape[0] == 5 or v.shape[1] == 5]
    assert on_data
    assert all(shape[0] == 5 for shape in on_data)
