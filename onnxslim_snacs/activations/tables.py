"""Where samples come from: files of arrays, a function of the user's, or a random generator.

A table has a known length and gives some of its rows, in ascending order, in blocks.
"""

from __future__ import annotations

import importlib
import math
import sys
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from onnxslim_snacs.activations.arrays import RowArray, Rows
from onnxslim_snacs.activations.inputs import LABELS, InputSpec, batch_extent, is_whole, turned
from onnxslim_snacs.errors import Ended, InputRefused, UsageError, foreign

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


@dataclass(frozen=True)
class FunctionTable:
    """A function that yields dicts of arrays, samples first.

    Attributes:
        name: `module:function`.
        call: the function; called anew for every pass.
        specs: the model's inputs.
        length: number of samples.
        names: the names of the arrays.
        whole: whether a sample is a whole set of inputs.
        bare: whether it yields single sets of inputs, without a dimension for samples.
    """

    name: str
    call: Callable[[], Iterator[Mapping[str, Any]]]
    specs: tuple[InputSpec, ...]
    length: int
    names: frozenset[str]
    whole: bool
    bare: bool

    def alike(self, rows: Rows) -> Sequence[Rows]:
        """The samples `rows`: what their shapes are shows when they come."""
        return [rows]

    def blocks(self, rows: Rows, size: int) -> Iterator[Block]:
        """The samples `rows`, ascending, in blocks of `size`, or less where shapes change."""
        kept: list[Block] = []
        start = have = 0
        for chunk in self._chunks():
            count = len(next(iter(chunk.values())))
            low, high = np.searchsorted(rows, [start, start + count])
            wanted = rows[low:high] - start
            if have and _extents(chunk) != _extents(kept[0]):
                yield _joined(kept)
                kept, have = [], 0
            kept.append({name: values[wanted] for name, values in chunk.items()})
            start, have = start + count, have + len(wanted)
            if have >= size:
                whole, rest = _joined(kept), have % size
                for at in range(0, have - rest, size):
                    yield {name: values[at : at + size] for name, values in whole.items()}
                kept = [{name: v[have - rest :] for name, v in whole.items()}]
                have = rest
            if high == len(rows):
                break
        if len(rows) and start <= rows[-1]:
            raise InputRefused(
                f"{foreign(self.name)} yielded {start} samples, but {self.length} at first: "
                "it has to give the same samples whenever it is called"
            )
        if have:
            yield _joined(kept)

    def _chunks(self) -> Iterator[Block]:
        for given in _call(self.name, self.call):
            chunk = _as_block(self.name, given, self.specs, bare=self.bare)
            if frozenset(chunk) != self.names:
                raise InputRefused(
                    f"{foreign(self.name)} yielded {foreign(sorted(chunk))}, "
                    f"expected {foreign(sorted(self.names))} as at first"
                )
            yield chunk


def function_table(name: str, specs: tuple[InputSpec, ...], samples: int | None) -> FunctionTable:
    """Find a function, and run it once to count what it yields.

    Args:
        name: `module:function`; the current folder is searched, too.
        specs: the model's inputs.
        samples: where to stop counting; None for the end.

    Raises:
        UsageError: there is no such function.
        InputRefused: it fails, or what it yields does not fit the model.
    """
    call = _find(name)
    stream = _call(name, call)
    with closing(stream):
        first = next(stream, None)
        if first is None:
            raise InputRefused(f"{foreign(name)} yields no samples")
        shapes = {str(k): np.shape(v) for k, v in first.items()}
        bare = _is_bare(shapes, specs)
        if bare:
            shapes = {k: (1, *shape) for k, shape in shapes.items()}
        whole = is_whole(shapes, specs, name)
        length = 0
        for given in chain([first], stream):
            length += len(next(iter(_as_block(name, given, specs, bare=bare).values())))
            if samples is not None and length >= samples:
                break
    return FunctionTable(name, call, specs, length, frozenset(shapes), whole, bare)


def _is_bare(shapes: Mapping[str, tuple[int, ...]], specs: Sequence[InputSpec]) -> bool:
    """Whether a dict is one set of inputs of a model that knows no batch."""
    batched, _ = batch_extent(specs)
    return not batched and all(len(shapes.get(s.name, ())) == len(s.dims) for s in specs)


def _find(name: str) -> Callable[[], Iterator[Mapping[str, Any]]]:
    module, _, function = name.partition(":")
    if not all(part.isidentifier() for part in (*module.split("."), function)):
        raise UsageError(f"--data {foreign(name)}: expected a file, a folder or module:function")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found = getattr(importlib.import_module(module), function)
    except (Ended, MemoryError):
        raise
    except (ModuleNotFoundError, AttributeError, ValueError) as error:
        raise UsageError(f"--data {foreign(name)}: {foreign(error)}") from error
    except (Exception, SystemExit) as error:  # whatever the user's code raises
        raise InputRefused(
            f"--data {foreign(name)} cannot be imported: {_raised(error)}"
        ) from error
    if not callable(found):
        raise UsageError(f"--data {foreign(name)} is not a function")
    call: Callable[[], Iterator[Mapping[str, Any]]] = found
    return call


def _call(
    name: str, call: Callable[[], Iterator[Mapping[str, Any]]]
) -> Generator[Mapping[str, Any], None, None]:
    try:
        for given in call():
            if not isinstance(given, Mapping) or not given:
                raise InputRefused(
                    f"{foreign(name)} yielded {type(given).__name__}, expected dicts of arrays"
                )
            yield {str(key): np.asarray(values) for key, values in given.items()}
    except (InputRefused, Ended, MemoryError):
        raise
    except (Exception, SystemExit) as error:  # whatever the user's code raises
        raise InputRefused(f"{foreign(name)} failed: {_raised(error)}") from error


def _raised(error: BaseException) -> str:
    what = "sys.exit" if isinstance(error, SystemExit) else type(error).__name__
    return foreign(f"{what}: {error}")


def _as_block(
    name: str, given: Mapping[str, Any], specs: Sequence[InputSpec], *, bare: bool
) -> Block:
    block = {str(k): np.asarray(v)[None] if bare else np.asarray(v) for k, v in given.items()}
    for key, axis in turned({k: v.shape for k, v in block.items()}, specs).items():
        block[key] = np.moveaxis(block[key], axis, 0)
    lengths = {k: v.shape[0] if v.ndim else 0 for k, v in block.items()}
    if len(set(lengths.values())) != 1 or 0 in lengths.values():
        raise InputRefused(
            f"{foreign(name)} yielded arrays of {foreign(lengths)} samples, expected equal numbers"
        )
    texts = {spec.name for spec in specs if spec.dtype.kind == "O"}
    if any(v.dtype.hasobject for k, v in block.items() if k not in texts):
        raise InputRefused(f"{foreign(name)} yielded Python objects, expected arrays of numbers")
    return block


def _extents(block: Block) -> dict[str, tuple[int, ...]]:
    return {name: values.shape[1:] for name, values in block.items()}


def _joined(blocks: Sequence[Block]) -> Block:
    if len(blocks) == 1:
        return dict(blocks[0])
    return {name: np.concatenate([b[name] for b in blocks]) for name in blocks[0]}


def has_labels(table: Table) -> bool:
    """Whether the samples come with their classes."""
    return LABELS in table.names
