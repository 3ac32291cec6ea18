"""Samples that come bit by bit: from a function, or from anything that can be started again."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxslim_snacs.activations.arrays import Rows
from onnxslim_snacs.activations.inputs import LABELS, InputSpec, batch_extent, is_whole, turned
from onnxslim_snacs.activations.tables import Block
from onnxslim_snacs.activations.users import answered_for, find_function
from onnxslim_snacs.config.memory import is_array
from onnxslim_snacs.errors import InputRefused, foreign


@dataclass(frozen=True)
class FunctionTable:
    """A function that yields samples, in whatever form `named_arrays` takes.

    Attributes:
        name: `module:function`, or the field that holds it.
        call: the function; called anew for every pass.
        specs: the model's inputs.
        length: number of samples.
        names: the names of the arrays.
        whole: whether a sample is a whole set of inputs.
        bare: whether it yields single samples, without a dimension for them.
        first: digest of what it yields first.
        labels: (sample,) their classes, where they come from elsewhere.
    """

    name: str
    call: Callable[[], Iterable[Any]]
    specs: tuple[InputSpec, ...]
    length: int
    names: frozenset[str]
    whole: bool
    bare: bool
    first: bytes
    labels: NDArray[Any] | None = None

    @property
    def seeks(self) -> bool:
        """Everything comes from the beginning."""
        return False

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
        start = 0
        for given in _call(self.name, self.call, self.specs):
            if start == 0 and _digest(given) != self.first:
                raise InputRefused(
                    f"{foreign(self.name)} yielded other samples than the first time: it has to "
                    "give the same ones in the same order whenever it is started (shuffle=False, "
                    "no random changes)"
                )
            chunk = _as_block(self.name, given, self.specs, bare=self.bare)
            count = len(next(iter(chunk.values())))
            if self.labels is not None:
                chunk[LABELS] = self.labels[start : start + count]
            start += count
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
    call = find_function("--data", name, "a file, a folder or ")
    return yielded_table(name, call, specs, samples)


def yielded_table(
    name: str,
    call: Callable[[], Iterable[Any]],
    specs: tuple[InputSpec, ...],
    samples: int | None,
    labels: NDArray[Any] | None = None,
) -> FunctionTable:
    """Run a function once to count what it yields.

    Args:
        name: for messages.
        call: gives the samples from the beginning whenever it is called.
        specs: the model's inputs.
        samples: where to stop counting; None for the end.
        labels: (sample,) their classes, where they come from elsewhere.

    Raises:
        InputRefused: it fails, or what it yields does not fit the model.
    """
    stream = _call(name, call, specs)
    with closing(stream):
        first = next(stream, None)
        if first is None:
            raise InputRefused(f"{foreign(name)} yields no samples")
        shapes = {k: v.shape for k, v in first.items()}
        bare = is_bare(shapes, specs)
        if bare:
            shapes = {k: (1, *shape) for k, shape in shapes.items()}
        whole = is_whole(shapes, specs, name)
        length = 0
        for given in chain([first], stream):
            length += len(next(iter(_as_block(name, given, specs, bare=bare).values())))
            if samples is not None and length >= samples:
                break
    names = frozenset(shapes) if labels is None else frozenset({*shapes, LABELS})
    return FunctionTable(
        name=name,
        call=call,
        specs=specs,
        length=length,
        names=names,
        whole=whole,
        bare=bare,
        first=_digest(first),
        labels=labels,
    )


def named_arrays(name: str, given: Any, specs: Sequence[InputSpec]) -> dict[str, NDArray[Any]]:
    """One item of a stream: name -> array.

    Args:
        name: where it comes from, for messages.
        given: a dict of arrays; an array, for a single input; or a list or tuple of one array for
            each input, perhaps with the labels behind them.
        specs: the model's inputs.

    Raises:
        InputRefused: it is none of these.
    """
    if isinstance(given, Mapping) and given:
        return {str(key): as_array(values) for key, values in given.items()}
    parts = list(given) if isinstance(given, list | tuple) else [given] if is_array(given) else []
    if len(parts) == 2 and isinstance(parts[0], Mapping) and parts[0]:
        return {**named_arrays(name, parts[0], specs), LABELS: as_array(parts[1])}
    wanted = [spec.name for spec in specs]
    if len(parts) == len(wanted) + 1:
        wanted.append(LABELS)
    if not parts or len(parts) != len(wanted):
        what = f"{type(given).__name__} of {len(parts)}" if parts else type(given).__name__
        raise InputRefused(
            f"{foreign(name)} yielded {what}, expected dicts of arrays, or an array for each of "
            f"the inputs {foreign(', '.join(spec.name for spec in specs))} and perhaps labels"
        )
    return {key: as_array(values) for key, values in zip(wanted, parts, strict=True)}


def as_array(values: Any) -> NDArray[Any]:
    """An array of numpy's; tensors of torch come from wherever they lie."""
    for step in ("detach", "cpu"):
        if hasattr(values, step):
            values = getattr(values, step)()
    return np.asarray(values)


def is_bare(shapes: Mapping[str, tuple[int, ...]], specs: Sequence[InputSpec]) -> bool:
    """Whether a dict is one sample alone, without a dimension for samples.

    Of a model that knows no batch that is one set of its inputs; of others, inputs without their
    first dimension.
    """
    batched, _ = batch_extent(specs)
    return all(len(shapes.get(s.name, ())) == len(s.dims) - int(batched) for s in specs)


def _call(
    name: str, call: Callable[[], Iterable[Any]], specs: Sequence[InputSpec]
) -> Generator[dict[str, NDArray[Any]], None, None]:
    with answered_for(name):
        for given in call():
            yield named_arrays(name, given, specs)


def _as_block(
    name: str, given: Mapping[str, NDArray[Any]], specs: Sequence[InputSpec], *, bare: bool
) -> Block:
    block = {key: values[None] if bare else values for key, values in given.items()}
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


def _digest(given: Mapping[str, NDArray[Any]]) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for name, values in sorted(given.items()):
        digest.update(f"{name} {values.dtype} {values.shape}".encode())
        text = values.dtype.hasobject
        digest.update(repr(values.tolist()).encode() if text else values.tobytes())
    return digest.digest()


def _extents(block: Block) -> dict[str, tuple[int, ...]]:
    return {name: values.shape[1:] for name, values in block.items()}


def _joined(blocks: Sequence[Block]) -> Block:
    if len(blocks) == 1:
        return dict(blocks[0])
    return {name: np.concatenate([b[name] for b in blocks]) for name in blocks[0]}
