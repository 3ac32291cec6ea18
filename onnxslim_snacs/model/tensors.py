"""Stored tensors: do the bytes fit the dimensions, and are the numbers finite?"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper

from onnxslim_snacs.errors import InputRefused, foreign
from onnxslim_snacs.model.external import is_external, locate, read_chunks

_PACKED_BITS: dict[int, int] = {
    TensorProto.UINT4: 4,
    TensorProto.INT4: 4,
    TensorProto.FLOAT4E2M1: 4,
    TensorProto.UINT2: 2,
    TensorProto.INT2: 2,
}
_TYPED_FIELDS = (
    "float_data",
    "int32_data",
    "string_data",
    "int64_data",
    "double_data",
    "uint64_data",
)
#: Where a tensor can hold its data.
DATA_FIELDS = (*_TYPED_FIELDS, "raw_data", "external_data", "data_location")
_SLICE = 1 << 20


@dataclass(frozen=True, slots=True)
class _FloatLayout:
    """Bits of a floating-point type: the word, and the bits that hold the exponent."""

    word: str
    exponent: int
    mantissa: int


_FLOATS: dict[int, _FloatLayout] = {
    TensorProto.FLOAT: _FloatLayout("<u4", 0x7F80_0000, 0x007F_FFFF),
    TensorProto.DOUBLE: _FloatLayout("<u8", 0x7FF0 << 48, (1 << 52) - 1),
    TensorProto.FLOAT16: _FloatLayout("<u2", 0x7C00, 0x03FF),
    TensorProto.BFLOAT16: _FloatLayout("<u2", 0x7F80, 0x007F),
}


@dataclass(frozen=True, slots=True)
class NotFinite:
    """What a tensor holds besides numbers."""

    nan: bool
    inf: bool


def element_count(tensor: TensorProto) -> int:
    """Number of elements.

    Raises:
        InputRefused: a dimension is negative, or the number does not fit into 63 bits.
    """
    if any(d < 0 for d in tensor.dims):
        raise _refuse(tensor, f"has a negative dimension: {_dims(tensor)}")
    # in Python's integers: in 64 bits, dimensions can be made to wrap around to a small product
    count: int = math.prod(tensor.dims)
    if count >= 1 << 60:
        raise _refuse(tensor, f"has dimensions that no memory can hold: {_dims(tensor)}")
    return count


def stored_bytes(tensor: TensorProto) -> int:
    """Number of bytes of the tensor as `raw_data` or external data; 0 for strings.

    Raises:
        InputRefused: the dimensions or the element type are not valid.
    """
    count = element_count(tensor)
    if tensor.data_type == TensorProto.STRING:
        return 0
    if tensor.data_type in _PACKED_BITS:
        return (count * _PACKED_BITS[tensor.data_type] + 7) // 8
    return count * np.dtype(_numpy_type(tensor)).itemsize


def check_tensor(tensor: TensorProto, base_dir: Path) -> NotFinite:
    """Check that a tensor's data fit its dimensions and type, without keeping them in memory.

    Args:
        tensor: any stored tensor.
        base_dir: the model's folder, for external data.

    Returns:
        Whether it holds NaN or infinite values.

    Raises:
        InputRefused: dimensions, type or amount of data are wrong, or external data cannot be used.
    """
    size = stored_bytes(tensor)
    if tensor.HasField("segment"):
        raise _refuse(tensor, "is one segment of a larger tensor, which nothing supports")
    typed = [name for name in _TYPED_FIELDS if len(getattr(tensor, name))]
    places = len(typed) + tensor.HasField("raw_data") + is_external(tensor)
    # an empty `raw_data` counts as well: whoever reads the tensor looks there first
    if places > 1 and not (places == 2 and is_external(tensor) and not (typed or tensor.raw_data)):
        raise _refuse(tensor, "stores its data in more than one place")
    if is_external(tensor):
        if tensor.data_type == TensorProto.STRING:
            raise _refuse(tensor, "holds strings, which cannot lie in an external file")
        return _scan(tensor, read_chunks(locate(tensor, base_dir, size)))
    if tensor.HasField("raw_data") and not typed:
        return _check_raw(tensor, size)
    return _check_typed(tensor, typed)


def _check_raw(tensor: TensorProto, size: int) -> NotFinite:
    raw = tensor.raw_data
    if tensor.data_type == TensorProto.STRING or len(raw) != size:
        raise _refuse(tensor, f"{_dims(tensor)} asks for {size} bytes, {len(raw)} are stored")
    return _scan(tensor, (raw,))


def _check_typed(tensor: TensorProto, typed: list[str]) -> NotFinite:
    field = helper.tensor_dtype_to_field(tensor.data_type)
    if typed and typed != [field]:
        raise _refuse(tensor, f"stores its data in {typed[0]}, expected {field}")
    count, values = element_count(tensor), getattr(tensor, field)
    if tensor.data_type in (TensorProto.COMPLEX64, TensorProto.COMPLEX128):
        count *= 2
    if tensor.data_type in _PACKED_BITS:
        count = stored_bytes(tensor)
    if len(values) != count:
        raise _refuse(tensor, f"{_dims(tensor)} asks for {count} entries, {len(values)} are stored")
    layout = _FLOATS.get(tensor.data_type)
    if layout is None:
        return NotFinite(nan=False, inf=False)
    if field == "int32_data":  # half precision is stored as its bits, one per entry
        return _scan(tensor, (np.array(values, dtype=np.int64).astype(layout.word).tobytes(),))
    return _scan(tensor, (np.array(values, dtype=layout.word.replace("u", "f")).tobytes(),))


def _scan(tensor: TensorProto, chunks: Iterable[bytes]) -> NotFinite:
    """Look for NaN and infinity, one slice at a time."""
    layout = _FLOATS.get(tensor.data_type)
    nan = inf = False
    for words in _slices(layout, chunks):
        assert layout is not None
        special = words[(words & layout.exponent) == layout.exponent] & layout.mantissa
        nan |= bool((special != 0).any())
        inf |= bool((special == 0).any())
    return NotFinite(nan, inf)


def _slices(layout: _FloatLayout | None, chunks: Iterable[bytes]) -> Iterator[NDArray[Any]]:
    if layout is None:
        return
    for chunk in chunks:
        words = np.frombuffer(chunk, dtype=layout.word)
        for start in range(0, len(words), _SLICE):
            yield words[start : start + _SLICE]


def _numpy_type(tensor: TensorProto) -> np.dtype[Any]:
    try:
        return helper.tensor_dtype_to_np_dtype(tensor.data_type)
    except (KeyError, ValueError, TypeError) as error:
        raise _refuse(tensor, f"has element type {tensor.data_type}, which does not exist") from (
            error
        )


def _dims(tensor: TensorProto) -> str:
    return foreign(list(tensor.dims[:16]))


def _refuse(tensor: TensorProto, reason: str) -> InputRefused:
    return InputRefused(f"tensor {foreign(tensor.name) or '(without a name)'} {reason}")
