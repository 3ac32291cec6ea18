"""Sizes to try for inputs whose dimensions are dynamic, and random inputs of such sizes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, ValueInfoProto, helper

from onnxslim_snacs.errors import InputRefused
from onnxslim_snacs.model.graph import ModelGraph

#: Numbers of samples of sound: 16 and 20 ms at 16 kHz.
_SOUND = (256, 320)

#: An extent: a number, or None where it changes with the input (batch, sequence, image size).
Dim = int | None
Shape = tuple[Dim, ...]
Sizes = Mapping[str, tuple[int, ...]]


def candidate_sizes(graph: ModelGraph, given: Sizes) -> list[list[dict[str, tuple[int, ...]]]]:
    """Input sizes to try, each a list of one (all static) or two (something dynamic) assignments.

    Batch is 2 and 5; a dynamic image side is tried as 64 and 128, 224 and 320, 32 and 64, 8 and 16;
    anything else dynamic as 8 and 12, at last as 256 and 320 (sound, with the batch of a recurrent
    state in its middle).  The ratios differ, so that no multiple of one extent is another one in
    both runs.  Where no pair runs, one assignment alone is tried, with every unknown as 1.
    """
    unknown = set(given) - set(graph.inputs)
    if unknown:
        raise InputRefused(
            f"input shape given for {sorted(unknown)}, but the model's inputs are "
            f"{list(graph.inputs)}"
        )
    infos = [v for v in graph.graph.input if v.name in set(graph.inputs)]
    if not any(_is_dynamic(v) and v.name not in given for v in infos):
        whole = {v.name: tuple(given.get(v.name) or _staticknown_dims(v)) for v in infos}
        bigger = {
            v.name: tuple(
                s + 1 if k == 0 and d is None and s >= 1 else s
                for k, (d, s) in enumerate(zip(known_dims(v), whole[v.name], strict=True))
            )
            for v in infos
        }
        if given and bigger != whole:
            return [[whole, bigger], [whole]]
        return [[whole]]
    pairs = []
    tried = [(sides, (8, 12)) for sides in ((64, 128), (224, 320), (32, 64), (8, 16))]
    for sides, others in (*tried, ((64, 128), _SOUND)):
        for batch in ((2, 5), (1, 1)):
            pair = [
                {
                    v.name: tuple(given.get(v.name) or _sized(v, batch[k], sides[k], others[k]))
                    for v in infos
                }
                for k in (0, 1)
            ]
            pairs.append(pair if pair[0] != pair[1] else pair[:1])
    ones = {v.name: tuple(given.get(v.name) or _sized(v, 1, 1, 1)) for v in infos}
    return [*pairs, [ones]]


def known_dims(info: ValueInfoProto) -> list[Dim]:
    """The declared extents of a value; None where one is dynamic."""
    return [
        d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else None
        for d in info.type.tensor_type.shape.dim
    ]


def _is_dynamic(info: ValueInfoProto) -> bool:
    return None in known_dims(info)


def _staticknown_dims(info: ValueInfoProto) -> tuple[int, ...]:
    return tuple(d or 1 for d in known_dims(info))


def _sized(info: ValueInfoProto, batch: int, side: int, other: int) -> tuple[int, ...]:
    dims = known_dims(info)
    image, first = len(dims) >= 4, 0
    if other in _SOUND and len(dims) == 3 and [k for k, d in enumerate(dims) if d is None] == [1]:
        first = 1  # layers, batch, hidden units
    return tuple(
        d if d is not None else batch if k == first else side if image else other
        for k, d in enumerate(dims)
    )


def random_inputs(graph: ModelGraph, sizes: Sizes, seed: int) -> dict[str, NDArray[Any]]:
    """Seeded inputs: normal for floats, zeros and ones for integers (they may be indices)."""
    rng = np.random.default_rng(seed)
    feeds: dict[str, NDArray[Any]] = {}
    for info in graph.graph.input:
        if info.name not in sizes:
            continue
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
