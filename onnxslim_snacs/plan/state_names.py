"""Which entry of a framework's state each stored tensor is: by name, or by its values.

Exporters keep names or make their own (`onnx::Conv_123`), transpose matrices, store equal vectors
once, and fold normalisations into the convolutions before them.  Values tell all the same: of a
folded convolution every filter is a multiple of what it was, and the multiples are gamma over the
root of variance and epsilon of one normalisation.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxslim_snacs.plan.stored_cuts import StoredCut

Array = NDArray[Any]
Stored = Sequence[tuple[StoredCut, Array]]

#: Relative differences of what is the same (less than the epsilon of a normalisation makes), and of
#: what was multiplied in single precision.
_SAME, _NEAR = 1e-6, 1e-4
#: Between the names of several tensors.
_AND = ", "
_NORM = ("weight", "bias", "running_mean", "running_var")
#: Epsilons of normalisations, and what they may be off by.
_EPSILON = (0.0, 1e-1)


@dataclass(frozen=True, slots=True)
class StateCut:
    """What stays of one entry of a state.

    Attributes:
        key: its name.
        tensor: the stored tensor from which that is known; several with commas between them.
        how: name, value, transposed, reshaped, part, folded (a factor for each output), or norm
            (folded into a tensor).
        shape: extents before the cut.
        axes: axis -> the slots that stay, in ascending order.
    """

    key: str
    tensor: str
    how: str
    shape: tuple[int, ...]
    axes: Mapping[int, tuple[int, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Matched:
    """A state beside a model.

    Attributes:
        entries: key -> what stays of it.
        unknown: keys of which the model holds nothing.
        lost: tensors that lose slots and are no part of the state.
    """

    entries: Mapping[str, StateCut]
    unknown: tuple[str, ...]
    lost: tuple[str, ...]


def match_state(stored: Stored, state: Mapping[str, Array]) -> Matched:
    """Find the stored tensor of every entry of a state.

    Args:
        stored: tensors with their values before the cut.
        state: key -> values, of the same model.
    """
    arrays = {k: v for k, v in state.items() if v.ndim and v.dtype.kind == "f"}
    entries: dict[str, StateCut] = {}
    taken: set[int] = set()
    # what is told apart best first: matrices and filters are hardly ever equal
    for key in sorted(arrays, key=lambda k: -arrays[k].ndim):
        found = _best(key, arrays[key], stored, taken)
        if found is not None:
            number, how, axes = found
            taken.add(number)
            entries[key] = StateCut(key, stored[number][0].name, how, arrays[key].shape, axes)
    for key, value in arrays.items():
        if key not in entries:
            joined = _joined(key, value, stored, taken)
            if joined is not None:
                entries[key] = joined
    for number, key, scale in _folded(arrays, entries, stored, taken):
        taken.add(number)
        entries |= _with_norm(key, scale, stored[number][0], arrays, entries)
    unknown = tuple(key for key in arrays if key not in entries)
    named = {name for entry in entries.values() for name in entry.tensor.split(_AND)}
    lost = {cut.name: None for cut, _ in stored if cut.axes and cut.name not in named}
    lost = {name: None for name in lost if not _belongs(name, stored, entries)}
    return Matched({k: entries[k] for k in arrays if k in entries}, unknown, tuple(lost))


Found = tuple[int, str, Mapping[int, tuple[int, ...]]]


def _best(key: str, value: Array, stored: Stored, taken: set[int]) -> Found | None:
    """The stored tensor with an entry's values; of several the one with its name or module."""
    found = []
    for number, (cut, array) in enumerate(stored):
        read = _same(value, array)
        if read is not None:
            how, dims = read
            axes = {dims[d]: index for d, index in cut.axes.items()}
            named = cut.name == key
            inside = cut.module == key.rpartition(".")[0]
            rank = (named, inside, _overlap(cut.module, key), number not in taken, -number)
            found.append((rank, (number, "name" if named and how == "value" else how, axes)))
    return max(found)[1] if found else None


def _overlap(module: str, key: str) -> int:
    """How many steps of two paths are the same from the end."""
    one, two = module.split("."), key.split(".")[:-1]
    steps = 0
    while steps < min(len(one), len(two)) and one[-1 - steps] == two[-1 - steps]:
        steps += 1
    return steps


def _same(value: Array, array: Array) -> tuple[str, dict[int, int]] | None:
    """How a stored tensor holds an entry, and its axes -> the entry's; None if it does not."""
    rank = value.ndim
    if array.shape == value.shape and _close(value, array):
        return "value", {d: d for d in range(rank)}
    if rank == 2 and array.shape == value.shape[::-1] and _close(value.T, array):
        return "transposed", {0: 1, 1: 0}
    slim = [d for d, extent in enumerate(array.shape) if extent != 1]
    mine = [d for d, extent in enumerate(value.shape) if extent != 1]
    same = [array.shape[d] for d in slim] == [value.shape[d] for d in mine]
    if (
        same
        and array.size == value.size
        and array.ndim != rank
        and _close(value.reshape(-1), array.reshape(-1))
    ):
        return "reshaped", dict(zip(slim, mine, strict=True))
    return None


def _close(a: Array, b: Array) -> bool:
    return bool(np.abs(a - b).max(initial=0.0) <= _SAME * np.abs(a).max(initial=0.0))


def _joined(key: str, value: Array, stored: Stored, taken: set[int]) -> StateCut | None:
    """An entry that the file stores in equal parts, as queries, keys and values often are."""
    for turned in (False, True):
        parts: list[tuple[int, tuple[int, ...] | None]] = []
        at, others, names = 0, {}, []
        while at < len(value):
            found = next(_parts(value, at, stored, turned=turned), None)
            if found is None:
                break
            number, length = found
            cut = stored[number][0]
            along, across = (1, 0) if turned else (0, 1)
            parts.append((length, cut.axes.get(along)))
            if across in cut.axes:
                others[1] = cut.axes[across]
            names.append(cut.name)
            taken.add(number)
            at += length
        if at == len(value) and len(parts) > 1:
            kept: list[int] = []
            start = 0
            for length, index in parts:
                kept += [start + k for k in (range(length) if index is None else index)]
                start += length
            axes: dict[int, tuple[int, ...]] = dict(others)
            if len(kept) < len(value):
                axes[0] = tuple(kept)
            return StateCut(key, _AND.join(names), "part", value.shape, axes)
    return None


def _parts(value: Array, start: int, stored: Stored, *, turned: bool) -> Iterator[tuple[int, int]]:
    for number, (_, array) in enumerate(stored):
        if array.ndim != value.ndim or (turned and array.ndim != 2):
            continue
        part = array.T if turned else array
        stop = start + len(part)
        fits = part.shape[1:] == value.shape[1:] and len(part) < len(value) and stop <= len(value)
        if fits and _close(value[start:stop], part):
            yield number, len(part)


def _folded(
    arrays: Mapping[str, Array],
    entries: Mapping[str, StateCut],
    stored: Stored,
    taken: set[int],
) -> Iterator[tuple[int, str, NDArray[np.float64]]]:
    """(tensor, key, factor of each output) of weights into which a normalisation was folded."""
    for key, value in arrays.items():
        if key in entries or value.ndim < 2:
            continue
        for number, (_, array) in enumerate(stored):
            if number in taken or array.shape != value.shape:
                continue
            scale = _factors(value, array)
            if scale is not None:
                yield number, key, scale
                break


def _factors(value: Array, array: Array) -> NDArray[np.float64] | None:
    """(outputs,) such that each row of the one is that of the other times its factor."""
    one, two = (a.reshape(len(a), -1).astype(np.float64) for a in (value, array))
    size = np.square(one).sum(axis=1)
    alive = size > 0
    if not alive.any():
        return None
    scale = np.where(alive, (one * two).sum(axis=1) / np.where(alive, size, 1.0), 0.0)
    rest = np.abs(two - scale[:, None] * one).max(axis=1)
    fits = rest <= _NEAR * np.maximum(np.abs(two).max(axis=1), 1e-12)
    return scale if fits.all() else None


def _with_norm(
    key: str,
    scale: NDArray[np.float64],
    cut: StoredCut,
    arrays: Mapping[str, Array],
    entries: Mapping[str, StateCut],
) -> dict[str, StateCut]:
    """A folded weight, its own bias if it has one, and the normalisation that was folded in."""
    shape = arrays[key].shape
    found = {key: StateCut(key, cut.name, "folded", shape, cut.axes)}
    along = {0: cut.axes[0]} if 0 in cut.axes else {}
    bias = f"{key.rpartition('.')[0]}.bias"
    if key.endswith(".weight") and bias in arrays and arrays[bias].shape == scale.shape:
        found[bias] = StateCut(bias, cut.name, "folded", scale.shape, along)
    norm = _norm_behind(key, scale, arrays, entries)
    for name in (f"{norm}.{part}" for part in _NORM) if norm else ():
        if name in arrays:
            found[name] = StateCut(name, cut.name, "norm", scale.shape, along)
    return found


def _norm_behind(
    key: str,
    scale: NDArray[np.float64],
    arrays: Mapping[str, Array],
    entries: Mapping[str, StateCut],
) -> str:
    """The normalisation with these factors; of several the next one in the order of the state.

    Before training all of them have the same factors.
    """
    order = {name: number for number, name in enumerate(arrays)}
    able = []
    for name in arrays:
        path = name.rpartition(".")[0]
        if (
            not name.endswith(".running_var")
            or name in entries
            or arrays[name].shape != scale.shape
        ):
            continue
        weight = arrays.get(f"{path}.weight", np.ones(len(scale)))
        if _is_norm(weight.astype(np.float64), arrays[name].astype(np.float64), scale):
            able.append(((order[name] - order[key]) % len(order), path))
    return min(able, default=(0, ""))[1]


def _is_norm(
    gamma: NDArray[np.float64], variance: NDArray[np.float64], scale: NDArray[np.float64]
) -> bool:
    """Whether factors are gamma / sqrt(variance + epsilon), with one epsilon for all."""
    alive = np.abs(scale) > 1e-12
    if not alive.any() or not np.array_equal(np.sign(gamma[alive]), np.sign(scale[alive])):
        return False
    guess = np.median(np.square(gamma[alive] / scale[alive]) - variance[alive])
    epsilon = min(max(float(guess), _EPSILON[0]), _EPSILON[1])
    made = gamma / np.sqrt(np.maximum(variance + epsilon, 1e-30))
    return bool(np.allclose(made[alive], scale[alive], rtol=1e-3))


def _belongs(name: str, stored: Stored, entries: Mapping[str, StateCut]) -> bool:
    """Whether a tensor is read beside one that is known: the bias that folding has made."""
    readers = {cut.reader for cut, _ in stored if cut.name == name}
    known = {entry.tensor for entry in entries.values() if entry.how == "folded"}
    return any(cut.reader in readers and cut.name in known for cut, _ in stored)
