"""Arrays of numpy as tensors on a device, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from onnxslim_snacs.torch_graph.late import torch

if TYPE_CHECKING:
    from torch import Tensor


def put(array: NDArray[Any] | Tensor, device: str) -> Tensor:
    """An array on a device; on the processor it shares its memory, and is not to be changed."""
    if not isinstance(array, np.ndarray):
        return array.to(device)
    dense = np.ascontiguousarray(array).reshape(np.shape(array))
    return torch.from_numpy(dense if dense.flags.writeable else dense.copy()).to(device)


def lent(value: Any) -> Tensor:
    """What ONNX Runtime has computed, where it lies (an `OrtValue`, by DLPack)."""
    found: Tensor = torch.utils.dlpack.from_dlpack(value)
    return found


def taken(tensor: Tensor) -> NDArray[Any]:
    """A tensor as an array of numpy's."""
    found: NDArray[Any] = tensor.cpu().numpy()
    return found
