"""Activations of all batches that some node still has to read: in memory, or in a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from tempfile import TemporaryFile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxslim_snacs.model.bounds import working_memory


def _budget() -> int:
    """Bytes of activations that are kept in memory; what goes beyond is mapped from files."""
    return 3 * working_memory() // 2


@dataclass(slots=True)
class LiveTensors:
    """Tensor -> its value in each batch.

    Attributes:
        budget: bytes to keep in memory.
        used: bytes that are in memory now.
    """

    budget: int = field(default_factory=_budget)
    used: int = 0
    _values: dict[str, list[NDArray[Any]]] = field(default_factory=dict)

    def append(self, name: str, value: NDArray[Any]) -> None:
        """Add the value of a tensor in the next batch."""
        if self.used + value.nbytes > self.budget and value.nbytes:
            value = _in_file(value)
        else:
            self.used += value.nbytes
        self._values.setdefault(name, []).append(value)

    def names(self) -> tuple[str, ...]:
        """The tensors."""
        return tuple(self._values)

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def __getitem__(self, name: str) -> Sequence[NDArray[Any]]:
        return self._values[name]

    def drop(self, name: str) -> None:
        """Forget a tensor; its memory and its file go with it."""
        for value in self._values.pop(name):
            if not isinstance(value, np.memmap):
                self.used -= value.nbytes


def _in_file(value: NDArray[Any]) -> NDArray[Any]:
    """The value in a file without a name, which ends with the last reference to the array."""
    with TemporaryFile(prefix="snacs-") as file:
        mapped = np.memmap(file, value.dtype, "w+", 0, value.shape)
    mapped[...] = value
    return mapped
