"""Arrays in a file or in memory, of which some rows are taken at a time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]


class RowArray(Protocol):
    """An array, samples first."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Its element type."""

    def take(self, rows: Rows) -> NDArray[Any]:
        """Some of its rows, in ascending order."""


@dataclass(frozen=True, slots=True)
class MappedArray:
    """An array that lies in one piece in a file.

    Attributes:
        path: the file.
        offset: where the values begin.
        shape: (sample, ...).
        dtype: element type.
        fortran: whether the first dimension is the fastest.
    """

    path: Path
    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran: bool

    def take(self, rows: Rows) -> NDArray[Any]:
        """Some of its rows, in ascending order."""
        return np.array(self.mapped()[_as_slice(rows)])

    def mapped(self) -> NDArray[Any]:
        """All of it, where it lies."""
        order = "F" if self.fortran else "C"
        values: NDArray[Any] = np.memmap(  # type: ignore[call-overload]
            self.path, self.dtype, "r", self.offset, self.shape, order
        )
        return values


@dataclass(frozen=True, slots=True)
class TurnedArray:
    """An array whose samples lie along another dimension than the first.

    Attributes:
        array: as it is on disk.
        axis: where its samples lie.
    """

    array: RowArray
    axis: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape with the samples first."""
        shape = self.array.shape
        return (shape[self.axis], *shape[: self.axis], *shape[self.axis + 1 :])

    @property
    def dtype(self) -> np.dtype[Any]:
        """Its element type."""
        return self.array.dtype

    def take(self, rows: Rows) -> NDArray[Any]:
        """Some of its samples, in ascending order; of a compressed array all is read for them."""
        array = self.array
        if isinstance(array, MappedArray):
            whole = array.mapped()
        else:
            whole = array.take(np.arange(array.shape[0]))
        return np.array(np.moveaxis(whole, self.axis, 0)[_as_slice(rows)])


@dataclass(frozen=True, slots=True)
class HeldArray:
    """An array in memory, samples first."""

    values: NDArray[Any]

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""
        return self.values.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Its element type."""
        return self.values.dtype

    def take(self, rows: Rows) -> NDArray[Any]:
        """Some of its rows."""
        return self.values[rows]


def _as_slice(rows: Rows) -> slice | Rows:
    """Neighbouring rows as a slice, which copies once instead of row by row."""
    if len(rows) and rows[-1] - rows[0] == len(rows) - 1:
        return slice(int(rows[0]), int(rows[-1]) + 1)
    return rows
