"""Where samples come from: arrays, or a random generator; `yielded` has what comes bit by bit.

A table has a known length and gives some of its rows, in ascending order, in blocks.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from onnxslim_snacs.activations.arrays import RowArray, Rows, TurnedArray
from onnxslim_snacs.activations.inputs import LABELS, InputSpec, check_shape, is_whole, turned
from onnxslim_snacs.errors import InputRefused, foreign

Block = dict[str, NDArray[Any]]

#: Bytes of random numbers that are drawn at once: few, for some samples may be wanted alone.
_RANDOM_BYTES = 1 << 20


class Table(Protocol):
    """Samples of all inputs, and labels if there are any."""

    @property
    def length(self) -> int:
        """Number of samples."""

    @property
    def names(self) -> frozenset[str]:
        """The names of the arrays: inputs, and labels if there are any."""

    @property
    def whole(self) -> bool:
        """Whether a sample is a whole set of inputs, batch dimension included."""

    @property
    def seeks(self) -> bool:
        """Whether any of the samples can be read without those before it."""

    def alike(self, rows: Rows) -> Sequence[Rows]:
        """The samples `rows`, ascending, by their shapes: only equal ones fit into one run."""

    def blocks(self, rows: Rows, size: int) -> Iterator[Block]:
        """The samples `rows`, ascending, in blocks of `size`; some may be smaller."""


@dataclass(frozen=True)
class ArrayTable:
    """Arrays on disk.

    Attributes:
        files: name -> array, for every file; the samples of one follow those of the last.
        whole: whether a sample is a whole set of inputs.
    """

    files: Sequence[Mapping[str, RowArray]]
    whole: bool

    @cached_property
    def _starts(self) -> Rows:
        """(file + 1,) number of the first sample of each file, and the length."""
        lengths = [next(iter(arrays.values())).shape[0] for arrays in self.files]
        return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)

    @property
    def length(self) -> int:
        """Number of samples."""
        return int(self._starts[-1])

    @property
    def names(self) -> frozenset[str]:
        """The names of the arrays."""
        return frozenset(self.files[0])

    @property
    def seeks(self) -> bool:
        """Files are read at any place."""
        return True

    @cached_property
    def _shapes(self) -> Rows:
        """(file,) a number for the shapes of the samples in a file."""
        shapes = [tuple((n, a.shape[1:]) for n, a in sorted(f.items())) for f in self.files]
        numbers = {shape: number for number, shape in enumerate(dict.fromkeys(shapes))}
        return np.array([numbers[shape] for shape in shapes], dtype=np.int64)

    def alike(self, rows: Rows) -> Sequence[Rows]:
        """The samples `rows`, ascending, by their shapes."""
        kind = self._shapes[self._file(rows)]
        return [rows[kind == number] for number in np.unique(kind)]

    def _file(self, rows: Rows) -> Rows:
        return np.searchsorted(self._starts, rows, side="right") - 1

    def blocks(self, rows: Rows, size: int) -> Iterator[Block]:
        """The samples `rows`, ascending, in blocks of `size`."""
        for at in range(0, len(rows), size):
            yield self._take(rows[at : at + size])

    def _take(self, rows: Rows) -> Block:
        file = self._file(rows)
        parts = [(int(k), rows[file == k] - self._starts[k]) for k in np.unique(file)]
        return {n: np.concatenate([self.files[k][n].take(r) for k, r in parts]) for n in self.names}


@dataclass(frozen=True)
class RandomTable:
    """Seeded random inputs: normal for floats, 0 and 1 for whole numbers (indices), empty strings.

    Attributes:
        specs: the inputs, with every dimension known.
        length: number of samples.
        whole: whether a sample is a whole set of inputs.
        seed: for the values; a sample does not depend on the others.
    """

    specs: tuple[InputSpec, ...]
    length: int
    whole: bool
    seed: int

    @property
    def names(self) -> frozenset[str]:
        """The names of the inputs."""
        return frozenset(spec.name for spec in self.specs)

    @property
    def seeks(self) -> bool:
        """A sample does not depend on the others."""
        return True

    def alike(self, rows: Rows) -> Sequence[Rows]:
        """The samples `rows`, which all have the same shapes."""
        return [rows]

    def blocks(self, rows: Rows, size: int) -> Iterator[Block]:
        """The samples `rows`, ascending, in blocks of `size`."""
        drawn: dict[int, tuple[int, NDArray[Any]]] = {}
        for at in range(0, len(rows), size):
            yield {
                spec.name: self._take(k, rows[at : at + size], drawn)
                for k, spec in enumerate(self.specs)
            }

    def _take(
        self, number: int, rows: Rows, drawn: dict[int, tuple[int, NDArray[Any]]]
    ) -> NDArray[Any]:
        """Some samples of an input; `drawn` holds its last chunk, which the next block may need."""
        spec = self.specs[number]
        dims = spec.dims if self.whole else spec.sample
        shape = tuple(1 if d is None else d for d in dims)
        count = min(64, max(1, _RANDOM_BYTES // (4 * max(1, math.prod(shape)))))
        chunk, parts = rows // count, []
        for wanted in np.unique(chunk).tolist():
            if number not in drawn or drawn[number][0] != wanted:
                drawn[number] = wanted, self._chunk(number, wanted, (count, *shape))
            parts.append(drawn[number][1][rows[chunk == wanted] % count])
        return np.concatenate(parts)

    def _chunk(self, number: int, chunk: int, shape: tuple[int, ...]) -> NDArray[Any]:
        spec = self.specs[number]
        if spec.dtype.kind == "O":
            return np.full(shape, "", dtype=object)
        rng = np.random.default_rng([self.seed, number, chunk])
        if spec.dtype.kind in "iub":
            return rng.integers(0, 2, size=shape).astype(spec.dtype)
        return rng.standard_normal(shape, dtype=np.float32).astype(spec.dtype)


def has_labels(table: Table) -> bool:
    """Whether the samples come with their classes."""
    return LABELS in table.names


def array_table(
    given: Sequence[tuple[str, Mapping[str, RowArray]]], specs: Sequence[InputSpec]
) -> ArrayTable:
    """Arrays of samples, one set after the other.

    Args:
        given: for each set a name for messages, and name -> array.
        specs: the model's inputs.

    Raises:
        InputRefused: they do not fit the model, or each other.
    """
    opened = [(name, _samples_first(arrays, specs)) for name, arrays in given]
    shapes = [{name: array.shape for name, array in arrays.items()} for _, arrays in opened]
    first = given[0][0]
    whole = is_whole(shapes[0], specs, first)
    for (name, arrays), own in zip(opened, shapes, strict=True):
        if is_whole(own, specs, name) != whole or own.keys() != shapes[0].keys():
            raise InputRefused(
                f"{foreign(name)}: samples of other dimensions than in {foreign(first)}: "
                f"{foreign(own)}"
            )
        for spec in specs:
            array = arrays[spec.name]
            check_shape(name, spec, array.shape, array.dtype, whole=whole)
        if len({shape[0] for shape in own.values()}) != 1:
            raise InputRefused(f"{foreign(name)}: different numbers of samples: {foreign(own)}")
    return ArrayTable([arrays for _, arrays in opened], whole)


def _samples_first(
    arrays: Mapping[str, RowArray], specs: Sequence[InputSpec]
) -> Mapping[str, RowArray]:
    axes = turned({name: array.shape for name, array in arrays.items()}, specs)
    return {n: TurnedArray(a, axes[n]) if n in axes else a for n, a in arrays.items()}
