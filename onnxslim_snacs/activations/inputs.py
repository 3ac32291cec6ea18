"""What a model wants to be fed with, and whether given arrays are that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray
from onnx import TensorProto, ValueInfoProto, helper

from onnxslim_snacs.errors import InputRefused, UsageError, foreign
from onnxslim_snacs.model.graph import ModelGraph
from onnxslim_snacs.model.sizes import Sizes

LABELS = "labels"


@dataclass(frozen=True, slots=True)
class InputSpec:
    """One input of a model.

    Attributes:
        name: its name.
        dims: its dimensions, None where dynamic.
        dtype: its element type; that of Python objects for strings.
        sample_dim: the dimension along which its samples lie.
    """

    name: str
    dims: tuple[int | None, ...]
    dtype: np.dtype[Any]
    sample_dim: int = 0

    @property
    def sample(self) -> tuple[int | None, ...]:
        """The dimensions of one sample."""
        return self.dims[: self.sample_dim] + self.dims[self.sample_dim + 1 :]


def input_specs(
    graph: ModelGraph, sizes: Sizes | None = None, axes: Mapping[str, int] | None = None
) -> tuple[InputSpec, ...]:
    """The inputs that the user feeds.

    Args:
        graph: the model.
        sizes: shapes of inputs for which the model declares none.
        axes: input -> the dimension along which its samples lie, where that is not the first.

    Raises:
        InputRefused: an input is no tensor, or its number of dimensions is not known.
        UsageError: `axes` names no input, or a dimension that it does not have.
    """
    infos = {v.name: v for v in graph.graph.input}
    given = {**_common_axes([infos[name] for name in graph.inputs]), **(axes or {})}
    unknown = sorted(set(given) - set(graph.inputs))
    if unknown:
        raise UsageError(
            f"--sample-axis is given for {foreign(unknown)}, but the model's inputs are "
            f"{foreign(list(graph.inputs))}"
        )
    specs = (_spec(infos[name], (sizes or {}).get(name)) for name in graph.inputs)
    return tuple(_along(spec, given.get(spec.name, 0)) for spec in specs)


def _common_axes(infos: Sequence[ValueInfoProto]) -> dict[str, int]:
    """Where the samples lie by the names of the dimensions: at the one that all inputs have.

    Only where the first dimensions have names, and different ones: steps beside samples.
    """
    names = [[d.dim_param for d in info.type.tensor_type.shape.dim] for info in infos]
    first = [own[0] if own else "" for own in names]
    common = [name for name in names[0] if name and all(own.count(name) == 1 for own in names)]
    if not all(first) or len(set(first)) == 1 or len(common) != 1:
        return {}
    return {info.name: own.index(common[0]) for info, own in zip(infos, names, strict=True)}


def _along(spec: InputSpec, axis: int) -> InputSpec:
    if axis and axis >= len(spec.dims):
        raise UsageError(
            f"--sample-axis {foreign(spec.name)}={axis}: it has {len(spec.dims)} dimensions"
        )
    return replace(spec, sample_dim=axis)


def _spec(info: ValueInfoProto, size: tuple[int, ...] | None) -> InputSpec:
    name, tensor = foreign(info.name), info.type.tensor_type
    if not info.type.HasField("tensor_type"):
        raise InputRefused(f"input {name}: only tensors can be fed")
    if not tensor.HasField("shape") and size is None:
        raise InputRefused(f"input {name} declares no shape: give one with --input-shape")
    dims = tuple(
        d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else None
        for d in tensor.shape.dim
    )
    known = dims if tensor.HasField("shape") else (None,) * len(size or ())
    return InputSpec(info.name, known, helper.tensor_dtype_to_np_dtype(tensor.elem_type))


def batch_extent(specs: Sequence[InputSpec]) -> tuple[bool, int | None]:
    """Whether samples lie side by side in the inputs, and how many if that is fixed.

    They do where their dimension is dynamic in all inputs, or has the same extent in all of them.
    Elsewhere (a recurrent state beside a window of audio) a sample is one whole set of inputs.
    """
    first = {spec.dims[spec.sample_dim] if spec.dims else 0 for spec in specs}
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


def turned(shapes: Mapping[str, tuple[int, ...]], specs: Sequence[InputSpec]) -> dict[str, int]:
    """Arrays that are laid out as the model takes them, and where their samples lie.

    Samples come first in data, whatever the model wants; where only the other order fits (by the
    extents that the model fixes, or by the number of samples), it is taken for that.

    Args:
        shapes: array -> its shape.
        specs: the inputs.
    """
    moved = {s.name: s.sample_dim for s in specs if s.sample_dim}
    if not moved or any(len(shapes.get(s.name, ())) != len(s.dims) for s in specs):
        return {}
    counts = {shape[0] if shape else 0 for shape in shapes.values()}
    first = len(counts) == 1 and all(_fits(s.sample, shapes[s.name][1:]) for s in specs)
    along = {shape[moved.get(name, 0)] if shape else 0 for name, shape in shapes.items()}
    as_taken = len(along) == 1 and all(_fits(s.dims, shapes[s.name]) for s in specs)
    return moved if as_taken and not first else {}


def _fits(dims: Sequence[int | None], shape: Sequence[int]) -> bool:
    return len(dims) == len(shape) and all(
        want in (None, got) for want, got in zip(dims, shape, strict=True)
    )


def check_shape(
    name: str, spec: InputSpec, shape: tuple[int, ...], dtype: DTypeLike, *, whole: bool
) -> None:
    """Make sure that an array holds samples of an input.

    Raises:
        InputRefused: its shape or type does not fit.
    """
    own = spec.dims if whole else spec.sample
    if not _fits(own, shape[1:]) or not _castable(np.dtype(dtype), spec.dtype):
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
    if spec.dtype.kind == "O":
        return _texts(name, spec, samples)
    with np.errstate(over="ignore"):
        result = np.ascontiguousarray(samples, dtype=spec.dtype)
    if samples.dtype.kind == "f" and not np.isfinite(result).all():
        what = "a value beyond float16" if np.isfinite(samples).all() else "NaN or infinity"
        raise InputRefused(f"{foreign(name)}: {foreign(spec.name)} holds {what}")
    if samples.dtype.kind in "iu" and not np.array_equal(result, samples):
        raise InputRefused(f"{foreign(name)}: {foreign(spec.name)} exceeds {spec.dtype}")
    return result


def _texts(name: str, spec: InputSpec, samples: NDArray[Any]) -> NDArray[Any]:
    """Strings as ONNX Runtime takes them."""
    if samples.dtype.kind == "S":
        try:
            samples = np.char.decode(samples, "utf-8")
        except UnicodeDecodeError as error:
            raise InputRefused(f"{foreign(name)}: {foreign(spec.name)} is no UTF-8") from error
    return samples.astype(object)


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
    if want.kind == "O":
        return got.kind in "USO"
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
    own = spec.dims if whole else spec.sample
    wanted = ", ".join(("samples", *("?" if d is None else str(d) for d in own)))
    got = f"{dtype} " if dtype is not None else ""
    kind = "strings" if spec.dtype.kind == "O" else spec.dtype
    return InputRefused(
        f"{foreign(name)}: {foreign(spec.name)} got {got}{shape}, expected {kind} ({wanted})"
    )


def _names(names: Sequence[str] | Mapping[str, object]) -> str:
    return foreign(", ".join(names) or "none")
