"""What YOLOX sees in mosaics of small photographs, and how much of it a cut model still sees."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from onnxslim_snacs.model.session import SessionConfig, create_session
from tests.harness import cifar

#: Side of the input, and the strides of its three grids.
SIDE, STRIDES = 416, (8, 16, 32)
#: Score from which a box is one, and overlap from which two are the same.
SCORE, OVERLAP = 0.3, 0.5

Floats = NDArray[Any]


def mosaics(count: int, tiles: int = 2) -> NDArray[np.float32]:
    """(count, 3, 416, 416), 0 ... 255: each of tiles x tiles photographs, enlarged."""
    from PIL import Image

    pixels, _ = cifar(count * tiles * tiles)
    size = SIDE // tiles
    large = [
        np.asarray(
            Image.fromarray(p.transpose(1, 2, 0)).resize((size, size), Image.Resampling.BICUBIC)
        )
        for p in pixels
    ]
    rows = np.stack(large).reshape(count, tiles, tiles, size, size, 3)
    whole = rows.transpose(0, 1, 3, 2, 4, 5).reshape(count, SIDE, SIDE, 3)
    return whole[..., ::-1].transpose(0, 3, 1, 2).astype(np.float32)  # BGR


def boxes(output: Floats) -> list[tuple[int, Floats]]:
    """(class, (left, top, right, bottom)) of the boxes in the output (3549, 85), after NMS."""
    cells = [
        (x, y, stride)
        for stride in STRIDES
        for y in range(SIDE // stride)
        for x in range(SIDE // stride)
    ]
    grid = np.array(cells, np.float64)
    middle = (output[:, :2] + grid[:, :2]) * grid[:, 2:]
    half = np.exp(output[:, 2:4]) * grid[:, 2:] / 2
    scores = output[:, 4:5] * output[:, 5:]
    kind, best = scores.argmax(axis=1), scores.max(axis=1)
    corners = np.concatenate([middle - half, middle + half], axis=1)
    found: list[tuple[int, Floats]] = []
    for at in np.argsort(-best):
        if best[at] < SCORE:
            break
        same = [box for label, box in found if label == kind[at]]
        if all(overlap(corners[at], box) < OVERLAP for box in same):
            found.append((int(kind[at]), corners[at]))
    return found


def overlap(a: Floats, b: Floats) -> float:
    """Intersection over union of two boxes."""
    sides = np.maximum(0.0, np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]))
    both = float(sides.prod())
    return both / float((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - both)


def seen(model: ModelProto, images: Floats) -> list[list[tuple[int, Floats]]]:
    session = create_session(model, SessionConfig())
    return [boxes(session.run(None, {"images": image[None]})[0][0]) for image in images]


def recall(original: ModelProto, images: Floats) -> Callable[[bytes], float]:
    """A judge: the share of the original's boxes that a model still finds."""
    wanted = seen(original, images)
    total = sum(map(len, wanted))
    assert total >= 20

    def share(data: bytes) -> float:
        got = seen(ModelProto.FromString(data), images)
        hits = sum(
            any(k == kind and overlap(box, other) >= OVERLAP for k, other in there)
            for before, there in zip(wanted, got, strict=True)
            for kind, box in before
        )
        return hits / total

    return share
