"""What a model wants to be fed with, and whether given arrays are that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray
from onnx import TensorProto, ValueInfoProto, helper

from onnxslim_snacs.errors import InputRefused, foreign
from onnxslim_snacs.model.graph import ModelGraph
from onnxslim_snacs.model.sizes import Sizes

LABELS = "labels"


@dataclass(frozen=True, slots=True)
class InputSpec:
    """One input of a model.

    Attributes:
        name: its name.
        dims: its dimensions, None where dynamic.
        dtype: its element type.
    """

    name: str
    dims: tuple[int | None, ...]
    dtype: np.dtype[Any]


def input_specs(graph: ModelGraph, sizes: Sizes | None = None) -> tuple[InputSpec, ...]:
    """The inputs that the user feeds.

    Args:
        graph: the model.
        sizes: shapes of inputs for which the model declares none.

    Raises:
        InputRefused: an input is not a tensor of numbers, or its number of dimensions is not known.
    """
    infos = {v.name: v for v in graph.graph.input}
    return tuple(_spec(infos[name], (sizes or {}).get(name)) for name in graph.inputs)


def _spec(info: ValueInfoProto, size: tuple[int, ...] | None) -> InputSpec:
    name, tensor = foreign(info.name), info.type.tensor_type
    if not info.type.HasField("tensor_type") or tensor.elem_type == TensorProto.STRING:
        raise InputRefused(f"input {name}: only tensors of numbers can be fed")
    if not tensor.HasField("shape") and size is None:
        raise InputRefused(f"input {name} declares no shape: give one with --input-shape")
    dims = tuple(
        d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else None
        for d in tensor.shape.dim
    )
    known = dims if tensor.HasField("shape") else (None,) * len(size or ())
    return InputSpec(info.name, known, helper.tensor_dtype_to_np_dtype(tensor.elem_type))


def batch_extent(specs: Sequence[InputSpec]) -> tuple[bool, int | None]:
    """Whether the inputs' first dimension is the sample, and its extent if that is fixed.

    It is where it is dynamic in all inputs, or has the same extent in all of them.  Elsewhere (a
    recurrent state beside a window of audio) a sample is one whole set of inputs.
    """
    first = {spec.dims[0] if spec.dims else 0 for spec in specs}
    if len(first) != 1 or 0 in first:
        return False, None
    return True, first.pop()


def is_whole(shapes: Mapping[str, tuple[int, ...]], specs: Sequence[InputSpec], name: str) -> bool:
    """Whether every sample is a whole set of inputs: the arrays have one dimension more.

    Args:
        shapes: input -> shape of the array that holds its samples.
        specs: the inputs.
        name: where the arrays come from, for messages.

    Raises:
        InputRefused: an array is missing or one too many, or has a wrong number of dimensions.
    """
    expected = [spec.name for spec in specs]
    missing = [n for n in expected if n not in shapes]
    surplus = [n for n in shapes if n not in (*expected, LABELS)]
    if missing or surplus:
        raise InputRefused(
            f"{foreign(name)}: got arrays {_names(shapes)}, expected the model's inputs "
            f"{_names(expected)} and, if there are any, {LABELS}"
        )
    batched, _ = batch_extent(specs)
    extra = {len(shapes[spec.name]) - len(spec.dims) for spec in specs}
    if extra == {1} or (extra == {0} and batched):
        return extra == {1}
    for spec in specs:
        if len(shapes[spec.name]) - len(spec.dims) != int(not batched):
            raise _misfit(name, spec, shapes[spec.name], None, whole=not batched)
    raise InputRefused(
        f"{foreign(name)}: some arrays have a dimension for samples, others have not"
    )


def check_shape(
    name: str, spec: InputSpec, shape: tuple[int, ...], dtype: DTypeLike, *, whole: bool
) -> None:
    """Make sure that an array holds samples of an input.

    Raises:
        InputRefused: its shape or type does not fit.
    """
    own = spec.dims if whole else spec.dims[1:]
    fits = len(shape) == 1 + len(own) and all(
        want in (None, got) for want, got in zip(own, shape[1:], strict=True)
    )
    if not fits or not _castable(np.dtype(dtype), spec.dtype):
        raise _misfit(name, spec, shape, np.dtype(dtype), whole=whole)


def conform(name: str, spec: InputSpec, samples: NDArray[Any], *, whole: bool) -> NDArray[Any]:
    """Samples as the model takes them.

    Args:
        name: where they come from, for messages.
        spec: the input.
        samples: (sample, ...) as they were given.
        whole: whether each is a whole input, else one entry of its first dimension.

    Returns:
        The same values in the input's type, contiguous.

    Raises:
        InputRefused: shape or type does not fit, or a value is not finite or out of range.
    """
    check_shape(name, spec, samples.shape, samples.dtype, whole=whole)
    with np.errstate(over="ignore"):
        result = np.ascontiguousarray(samples, dtype=spec.dtype)
    if samples.dtype.kind == "f" and not np.isfinite(result).all():
        what = "a value beyond float16" if np.isfinite(samples).all() else "NaN or infinity"
        raise InputRefused(f"{foreign(name)}: {foreign(spec.name)} holds {what}")
    if samples.dtype.kind in "iu" and not np.array_equal(result, samples):
        raise InputRefused(f"{foreign(name)}: {foreign(spec.name)} exceeds {spec.dtype}")
    return result


def check_labels(name: str, labels: NDArray[Any], classes: int | None) -> NDArray[np.int64]:
    """Labels as numbers of classes.

    Raises:
        InputRefused: they are not whole numbers from 0 to below `classes`.
    """
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise InputRefused(
            f"{foreign(name)}: labels got {labels.dtype} {labels.shape}, expected whole numbers "
            "(samples,)"
        )
    outside = (labels < 0) | (labels >= (classes or np.iinfo(np.int64).max))
    if outside.any():
        limit = f"0..{classes - 1}" if classes else "0 or more"
        raise InputRefused(f"{foreign(name)}: got the label {labels[outside][0]}, expected {limit}")
    return labels.astype(np.int64)


def class_count(graph: ModelGraph) -> int | None:
    """Number of classes if an output ranks a fixed number of them."""
    for info in graph.graph.output:
        dims = [int(dim.dim_value) for dim in info.type.tensor_type.shape.dim]
        kind = info.type.tensor_type.elem_type
        floats = kind in (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE)
        if floats and ranks_classes(dims):
            return dims[1]
    return None


def ranks_classes(shape: Sequence[int]) -> bool:
    """Whether an output of that shape ranks classes: (sample, class), or a map of one position.

    With one dimension of 1 behind, (sample, anchor, 1) is what a detector says.
    """
    return len(shape) in (2, 4, 5) and shape[1] >= 2 and all(size == 1 for size in shape[2:])


def _castable(got: np.dtype[Any], want: np.dtype[Any]) -> bool:
    """Whether values keep their meaning: floats to floats, whole numbers to whole numbers."""
    if want.kind == "b":
        return got.kind == "b"
    if want.kind in "iu":
        return got.kind in "iub"
    return got.kind == "f"


def _misfit(
    name: str,
    spec: InputSpec,
    shape: tuple[int, ...],
    dtype: np.dtype[Any] | None,
    *,
    whole: bool,
) -> InputRefused:
    own = spec.dims if whole else spec.dims[1:]
    wanted = ", ".join(("samples", *("?" if d is None else str(d) for d in own)))
    got = f"{dtype} " if dtype is not None else ""
    return InputRefused(
        f"{foreign(name)}: {foreign(spec.name)} got {got}{shape}, expected {spec.dtype} ({wanted})"
    )


def _names(names: Sequence[str] | Mapping[str, object]) -> str:
    return foreign(", ".join(names) or "none")
