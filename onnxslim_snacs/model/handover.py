"""What ONNX Runtime is given: the model as bytes, and beside it the weights too large for that.

A serialised model ends at 2 GB, and a model that is handed over as bytes has no folder against
which external data could be found.  So both kinds of weights travel as values of their own, without
a copy; those in files are mapped into memory and read when they are needed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, StringStringEntryProto, TensorProto, helper, numpy_helper

from onnxslim_snacs.errors import InputRefused, foreign
from onnxslim_snacs.model.external import is_external, locate, read_chunks
from onnxslim_snacs.model.shell import shell
from onnxslim_snacs.model.tensors import DATA_FIELDS, stored_bytes
from onnxslim_snacs.model.walk import stored_tensors

#: Models up to this size are handed over whole: half of what protobuf can serialise.
MAX_INLINE = 1 << 30
_SMALL = 1 << 12


@dataclass(frozen=True)
class HandOver:
    """A model in two parts.

    Attributes:
        proto: the model; the initializers in `values` are marked external in it.
        values: initializers that travel on their own: name -> (value, ONNX element type).
    """

    proto: ModelProto
    values: dict[str, tuple[NDArray[Any], int]]


def hand_over(
    model: ModelProto, base_dir: Path | None = None, max_inline: int = MAX_INLINE
) -> HandOver:
    """Split a model so that it can be handed over in memory, whatever its size.

    Args:
        model: the model; not changed.
        base_dir: the folder of its external data.
        max_inline: bytes up to which weights stay inside.

    Raises:
        InputRefused: external data cannot be read.
    """
    large = sum(stored_bytes(t) for t in model.graph.initializer if not is_external(t)) > max_inline
    if not large and not any(is_external(tensor) for _, tensor in stored_tensors(model)):
        return HandOver(model, {})
    light = shell(model, "graph")
    light.graph.CopyFrom(shell(model.graph, "initializer"))
    for _, tensor in stored_tensors(light):
        _read_in(tensor, base_dir)
    values: dict[str, tuple[NDArray[Any], int]] = {}
    for tensor in model.graph.initializer:
        entry = light.graph.initializer.add()
        if not _travels(tensor, large):
            entry.CopyFrom(tensor)
            _read_in(entry, base_dir)
            continue
        values[tensor.name] = _value(tensor, base_dir), tensor.data_type
        entry.CopyFrom(shell(tensor, *DATA_FIELDS))
        entry.data_location = TensorProto.EXTERNAL
        entry.external_data.append(StringStringEntryProto(key="location", value="memory"))
    return HandOver(light, values)


def _travels(tensor: TensorProto, large: bool) -> bool:
    """Whether an initializer is handed over on its own: only types that numpy itself knows."""
    if tensor.data_type == TensorProto.STRING:
        return False
    plain = helper.tensor_dtype_to_np_dtype(tensor.data_type).isbuiltin == 1
    return plain and (is_external(tensor) or (large and stored_bytes(tensor) > _SMALL))


def _value(tensor: TensorProto, base_dir: Path | None) -> NDArray[Any]:
    if not is_external(tensor):
        return numpy_helper.to_array(tensor)
    dtype, shape = helper.tensor_dtype_to_np_dtype(tensor.data_type), tuple(tensor.dims)
    region = locate(tensor, _folder(tensor, base_dir), stored_bytes(tensor))
    if region.length == 0:
        return np.empty(shape, dtype)
    return np.memmap(region.path, dtype, "r", region.offset, shape)


def _read_in(tensor: TensorProto, base_dir: Path | None) -> None:
    if not is_external(tensor):
        return
    region = locate(tensor, _folder(tensor, base_dir), stored_bytes(tensor))
    raw = b"".join(read_chunks(region))
    tensor.ClearField("external_data")
    tensor.ClearField("data_location")
    tensor.raw_data = raw


def _folder(tensor: TensorProto, base_dir: Path | None) -> Path:
    if base_dir is None:
        raise InputRefused(
            f"tensor {foreign(tensor.name)} lies in another file, but the model's folder is not "
            "known: load the model from its path"
        )
    return base_dir
