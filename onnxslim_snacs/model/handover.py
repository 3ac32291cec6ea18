"""What ONNX Runtime is given: the model as bytes, and beside it the weights too large for that.

A serialised model ends at 2 GB, so that large weights travel as values of their own.  Those in
files stay there: ONNX Runtime is told the folder and maps them into memory without a copy.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from onnx import ModelProto, StringStringEntryProto, TensorProto

from onnxslim_snacs.model.external import is_external
from onnxslim_snacs.model.mapped import folder_of, is_plain, read_in, tensor_array
from onnxslim_snacs.model.shell import shell
from onnxslim_snacs.model.stored import stored_tensors
from onnxslim_snacs.model.tensors import DATA_FIELDS, stored_bytes

#: Models up to this size are handed over whole, which takes three copies of them.
MAX_INLINE = 1 << 28
_SMALL = 1 << 12


@dataclass(frozen=True)
class HandOver:
    """A model in parts.

    Attributes:
        proto: the model; the initializers in `values` are marked external in it.
        values: initializers that travel on their own: name -> (value, ONNX element type).
        folder: where the files lie to which other initializers refer, None if none does.
        is_large: whether the weights outside of the proto are too large for further copies.
    """

    proto: ModelProto
    values: dict[str, tuple[NDArray[Any], int]]
    folder: Path | None = None
    is_large: bool = False


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
    outside, folder = 0, None
    for tensor in model.graph.initializer:
        size, entry = stored_bytes(tensor), light.graph.initializer.add()
        if size <= _SMALL or not (is_external(tensor) or (large and is_plain(tensor))):
            entry.CopyFrom(tensor)
            _read_in(entry, base_dir)
            continue
        outside += size
        if is_external(tensor):
            folder = folder_of(tensor, base_dir).resolve()
            entry.CopyFrom(tensor)
            continue
        values[tensor.name] = tensor_array(tensor), tensor.data_type
        entry.CopyFrom(shell(tensor, *DATA_FIELDS))
        entry.data_location = TensorProto.EXTERNAL
        entry.external_data.append(StringStringEntryProto(key="location", value="memory"))
    return HandOver(light, values, folder, outside > MAX_INLINE)


def _read_in(tensor: TensorProto, base_dir: Path | None) -> None:
    if is_external(tensor):
        tensor.CopyFrom(read_in(tensor, base_dir))
