"""Values of stored tensors; those in files are mapped into memory and read when they are needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from onnxslim_snacs.errors import InputRefused, foreign
from onnxslim_snacs.model.external import is_external, locate, read_chunks
from onnxslim_snacs.model.tensors import stored_bytes


def tensor_array(tensor: TensorProto, base_dir: Path | None = None) -> NDArray[Any]:
    """Value of a tensor, not to be written to.

    Args:
        tensor: a stored tensor.
        base_dir: the model's folder, for external data.

    Raises:
        InputRefused: external data cannot be read.
    """
    if not is_external(tensor):
        return numpy_helper.to_array(tensor)
    if not is_plain(tensor):
        return numpy_helper.to_array(read_in(tensor, base_dir))
    dtype, shape = helper.tensor_dtype_to_np_dtype(tensor.data_type), tuple(tensor.dims)
    region = locate(tensor, folder_of(tensor, base_dir), stored_bytes(tensor))
    if region.length == 0:
        return np.empty(shape, dtype)
    return np.memmap(region.path, dtype, "r", region.offset, shape)


def is_plain(tensor: TensorProto) -> bool:
    """Whether numpy itself knows the element type, one number after the other."""
    if tensor.data_type == TensorProto.STRING:
        return False
    return helper.tensor_dtype_to_np_dtype(tensor.data_type).isbuiltin == 1


def read_in(tensor: TensorProto, base_dir: Path | None) -> TensorProto:
    """A copy of an external tensor that holds its data itself."""
    copy = TensorProto()
    copy.CopyFrom(tensor)
    region = locate(tensor, folder_of(tensor, base_dir), stored_bytes(tensor))
    copy.ClearField("external_data")
    copy.ClearField("data_location")
    copy.raw_data = b"".join(read_chunks(region))
    return copy


def folder_of(tensor: TensorProto, base_dir: Path | None) -> Path:
    """The model's folder, which has to be known.

    Raises:
        InputRefused: it is not.
    """
    if base_dir is None:
        raise InputRefused(
            f"tensor {foreign(tensor.name)} lies in another file, but the model's folder is not "
            "known: load the model from its path"
        )
    return base_dir
