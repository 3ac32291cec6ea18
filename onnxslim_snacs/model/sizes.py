"""Numbers to try for dimensions that change with the input, and random inputs of given sizes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, ValueInfoProto, helper

from onnxslim_snacs.errors import RuntimeRefused, foreign
from onnxslim_snacs.model.extents import InputExtents, LinearExtent, read_layout
from onnxslim_snacs.model.graph import ModelGraph

#: An extent: a number, or None where it changes with the input (batch, sequence, image size).
Dim = int | None
Shape = tuple[Dim, ...]
Sizes = Mapping[str, tuple[int, ...]]

BATCH, SIDE, OTHER = "batch", "side", "other"
#: (batch, side of an image, anything else) to begin with, in the order in which it is worth trying;
#: the last two are sound: 16 ms at 16 kHz, and a tenth of a second.
SCALES = (
    (2, 64, 8),
    (2, 224, 8),
    (2, 32, 8),
    (2, 8, 8),
    (2, 64, 256),
    (2, 64, 1600),
    (1, 64, 8),
    (1, 224, 8),
    (1, 32, 8),
    (1, 64, 256),
    (1, 1, 1),
)
#: Sides of images beyond which twice as much takes too long.
_LARGE = 128
#: Most channels of an image, where they come last.
_COLOURS = 4
#: What to add, per symbol of the same kind: no two of them begin alike.
_STEP = {BATCH: 1, SIDE: 32, OTHER: 1}


def known_dims(info: ValueInfoProto) -> list[Dim]:
    """The declared extents of a value; None where one is dynamic."""
    return [
        d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else None
        for d in info.type.tensor_type.shape.dim
    ]


def kinds(layout: InputExtents, *, states: bool = False) -> dict[str, str]:
    """What each symbol is likely to be: a batch comes first, images have four dimensions.

    Args:
        layout: what is declared.
        states: whether three dimensions of which the middle one is free are (layers, batch, hidden
            units) of a recurrent layer.
    """
    found = {}
    for symbol in layout.symbols():
        places = list(layout.places(symbol))
        rows = [(layout.axes[name], dim) for name, dim in places]
        if any(dim == 0 or (states and _is_state(row, dim)) for row, dim in rows):
            found[symbol] = BATCH
        elif any(_is_side(row, dim) for row, dim in rows):
            found[symbol] = SIDE
        else:
            found[symbol] = OTHER
    return found


def _is_state(row: Sequence[LinearExtent], dim: int) -> bool:
    return len(row) == 3 and dim == 1 and not row[0].terms and not row[2].terms


def _is_side(row: Sequence[LinearExtent], dim: int) -> bool:
    """Whether an axis may be that of an image, and not of a cache (batch, head, token, channel)."""
    free = [k for k, extent in enumerate(row) if k and extent.terms]
    last = row[-1]
    few = not last.terms and last.constant <= _COLOURS
    return len(row) >= 4 and (len(free) > 1 or dim == len(row) - 1 or few)


def first_values(
    layout: InputExtents, scale: tuple[int, int, int], *, apart: bool
) -> dict[str, int]:
    """A number for every symbol.

    Args:
        layout: what is declared.
        scale: the number of each kind.
        apart: whether symbols of one kind get different numbers.
    """
    base = dict(zip((BATCH, SIDE, OTHER), scale, strict=True))
    seen: dict[str, int] = {}
    values = {}
    for symbol, kind in kinds(layout).items():
        values[symbol] = base[kind] + _STEP[kind] * seen.get(kind, 0) * apart
        seen[kind] = seen.get(kind, 0) + 1
    return values


def others(number: int, kind: str, *, odd: bool = False) -> Iterator[int]:
    """Other numbers for a symbol, in the order in which it is worth trying; none is 1.

    The first are no multiples of each other by a whole number that the number itself hides: 2 and
    5, 8 and 12; images stay multiples of 32, then anything goes.

    Args:
        number: the number.
        kind: what the symbol is likely to be.
        odd: whether sides of images come first that are no multiples of anything: what is padded
            or rounded shows there, if the model runs.
    """
    small = max(number, 2)
    tried: tuple[int, ...]
    if kind == BATCH:
        tried = (small + 3, small + 1, small - 1, 2 * small, small + 2)
    elif kind == SIDE:
        near = (number + 32, number // 2, number - 32, number + 64)
        tried = (*near, 2 * small) if number > _LARGE else (2 * small, *near)
        tried = (*tried, number + number // 2, small + 1, number - 1)
        tried = (small + 1, small + 5, small - 3, *tried) if odd else tried
    else:
        half = small // 2
        tried = (small + half, small + 1, small - 1, 2 * small, half)
    seen = {number}
    for value in tried:
        if value > 1 and value not in seen:
            seen.add(value)
            yield value


def default_sizes(graph: ModelGraph, given: Sizes) -> dict[str, tuple[int, ...]]:
    """Sizes for a model that is not run."""
    layout = read_layout(graph, {name: len(shape) for name, shape in given.items()})
    sizes = layout.sizes(first_values(layout, SCALES[0], apart=False))
    return {**sizes, **{name: tuple(shape) for name, shape in given.items() if name in sizes}}


def random_inputs(graph: ModelGraph, sizes: Sizes, seed: int) -> dict[str, NDArray[Any]]:
    """Seeded inputs: normal for floats, zeros and ones for integers (they may be indices).

    Raises:
        RuntimeRefused: an input is no tensor.
    """
    rng = np.random.default_rng(seed)
    feeds: dict[str, NDArray[Any]] = {}
    for info in graph.graph.input:
        if info.name not in sizes:
            continue
        if info.type.WhichOneof("value") != "tensor_type":
            raise RuntimeRefused(f"input {foreign(info.name)} is no tensor, and none is made up")
        kind = info.type.tensor_type.elem_type
        dtype = helper.tensor_dtype_to_np_dtype(kind)
        shape = sizes[info.name]
        if kind in (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE):
            feeds[info.name] = rng.standard_normal(shape).astype(dtype)
        elif kind == TensorProto.STRING:
            feeds[info.name] = np.full(shape, "", dtype=object)
        else:
            feeds[info.name] = rng.integers(0, 2, size=shape).astype(dtype)
    return feeds
