"""Samples and labels that a caller holds in memory, as tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxslim_snacs.activations.arrays import HeldArray
from onnxslim_snacs.activations.inputs import LABELS, InputSpec
from onnxslim_snacs.activations.tables import ArrayTable, Table, array_table
from onnxslim_snacs.activations.users import answered_for
from onnxslim_snacs.activations.yielded import as_array, is_bare, named_arrays, yielded_table
from onnxslim_snacs.config import DataConfig
from onnxslim_snacs.config.memory import InMemory, is_array, is_function, is_reader
from onnxslim_snacs.errors import InputRefused, foreign

FIELD, LABEL_FIELD = "DataConfig.path", "DataConfig.labels"


def described(data: DataConfig) -> str:
    """Where samples come from, for messages and for the report."""
    return f"{FIELD} {data.path}" if isinstance(data.path, InMemory) else str(data.path)


def held_table(data: DataConfig, specs: tuple[InputSpec, ...]) -> Table:
    """Samples that a caller holds.

    Args:
        data: with samples in memory.
        specs: the model's inputs.

    Raises:
        InputRefused: they do not fit the model, or there are not as many labels as samples.
    """
    name, labels = described(data), _labels(data)
    value: Any = data.path.value if isinstance(data.path, InMemory) else None
    if is_array(value) or isinstance(value, Mapping):
        return _labelled([(name, _named(name, value, specs))], labels, specs)
    if isinstance(value, list | tuple):
        sets = [(f"{name}[{k}]", item) for k, item in enumerate(value)]
        named = [(own, _named(own, item, specs)) for own, item in sets]
        return _labelled(_with_samples(named, specs), labels, specs)
    table = yielded_table(name, restarted(value), specs, data.samples, labels)
    if labels is not None and len(labels) < table.length:
        raise _wrong_number(len(labels), table.length)
    return table


def restarted(value: Any) -> Callable[[], Iterable[Any]]:
    """A function that gives everything from the beginning whenever it is called."""
    if is_reader(value):
        return lambda: _read(value)
    if is_function(value):
        function: Callable[[], Iterable[Any]] = value
        return function
    if hasattr(value, "__iter__"):
        return lambda: iter(value)
    return lambda: (value[k] for k in range(len(value)))


def _read(reader: Any) -> Iterator[Any]:
    """All of a CalibrationDataReader, which is at its beginning before and after."""
    reader.rewind()
    try:
        while (given := reader.get_next()) is not None:
            yield given
    finally:
        reader.rewind()


def _named(name: str, value: Any, specs: tuple[InputSpec, ...]) -> dict[str, NDArray[Any]]:
    with answered_for(name):
        arrays = named_arrays(name, value, specs)
    texts = {spec.name for spec in specs if spec.dtype.kind == "O"}
    for key, values in arrays.items():
        if values.dtype.hasobject and key not in texts:
            raise InputRefused(
                f"{foreign(name)}: {foreign(key)} holds Python objects, expected numbers"
            )
    return arrays


def _with_samples(
    sets: list[tuple[str, dict[str, NDArray[Any]]]], specs: tuple[InputSpec, ...]
) -> list[tuple[str, dict[str, NDArray[Any]]]]:
    """The same sets with a dimension for samples in each, if they are single samples."""
    if not is_bare({key: values.shape for key, values in sets[0][1].items()}, specs):
        return sets
    return [(name, {k: values[None] for k, values in arrays.items()}) for name, arrays in sets]


def _labelled(
    sets: list[tuple[str, dict[str, NDArray[Any]]]],
    labels: NDArray[Any] | None,
    specs: tuple[InputSpec, ...],
) -> ArrayTable:
    if labels is not None:
        counts = [len(next(iter(arrays.values()))) for _, arrays in sets]
        ends = list(accumulate(counts))
        if len(labels) != ends[-1]:
            raise _wrong_number(len(labels), ends[-1])
        starts = (end - count for end, count in zip(ends, counts, strict=True))
        for (_, arrays), start, end in zip(sets, starts, ends, strict=True):
            arrays[LABELS] = labels[start:end]
    held = [(name, {k: HeldArray(v) for k, v in arrays.items()}) for name, arrays in sets]
    for name, arrays in sets:
        for key, values in arrays.items():
            if not values.ndim:
                raise InputRefused(f"{foreign(name)}: {foreign(key)} has no dimension for samples")
    return array_table(held, specs)


def _labels(data: DataConfig) -> NDArray[Any] | None:
    """(sample,) all labels: a number for each sample, which fits where the samples do not."""
    if not isinstance(data.labels, InMemory):
        return None
    value = data.labels.value
    if is_array(value):
        return as_array(value)
    with answered_for(f"{LABEL_FIELD} {data.labels}"):
        parts = [_one(part) for part in restarted(value)()]
    if not parts:
        raise InputRefused(f"{LABEL_FIELD} {data.labels} holds no labels")
    return np.concatenate(parts)


def _one(given: Any) -> NDArray[Any]:
    if isinstance(given, Mapping) and len(given) == 1:
        given = next(iter(given.values()))
    return np.atleast_1d(as_array(given))


def _wrong_number(labels: int, samples: int) -> InputRefused:
    return InputRefused(f"{LABEL_FIELD}: got {labels} labels for {samples} samples")
