"""Calibration data from wherever they lie: nowhere, memory, files, a function of the user's."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from onnxslim_snacs.activations.array_files import open_arrays
from onnxslim_snacs.activations.held import described, held_table
from onnxslim_snacs.activations.images import SUFFIXES, image_table
from onnxslim_snacs.activations.inputs import (
    InputSpec,
    batch_extent,
    class_count,
    input_specs,
)
from onnxslim_snacs.activations.sources import CalibrationSource
from onnxslim_snacs.activations.tables import (
    ArrayTable,
    RandomTable,
    Table,
    array_table,
)
from onnxslim_snacs.activations.users import files_of_function
from onnxslim_snacs.activations.yielded import function_table
from onnxslim_snacs.config import DataConfig
from onnxslim_snacs.config.memory import InMemory
from onnxslim_snacs.errors import FileSystemError, InputRefused, UsageError, foreign
from onnxslim_snacs.model.facts import ModelFacts
from onnxslim_snacs.model.graph import ModelGraph
from onnxslim_snacs.model.reading import read_facts
from onnxslim_snacs.model.sizes import default_sizes

#: Random samples if the user does not say how many.
RANDOM_SAMPLES = 256


def open_source(
    data: DataConfig, graph: ModelGraph, *, seed: int = 0, facts: ModelFacts | None = None
) -> CalibrationSource:
    """Open calibration data.

    Args:
        data: where they are, and how images are prepared.
        graph: the model.
        seed: for random inputs, and for the choice if not all samples are used.
        facts: what is known of the model, for random inputs; found out if it is not given.

    Returns:
        The samples; of those that there are, `data.samples` chosen at random (of a function's, the
        first).

    Raises:
        UsageError: an option does not fit.
        InputRefused: the data do not fit the model.
        FileSystemError: a file cannot be read.
        LimitExceeded: a file asks for too much memory.
    """
    if data.samples is not None and data.samples < 1:
        raise UsageError(f"--samples {data.samples}: expected at least 1")
    found = facts.first_sizes if facts is not None else {}
    specs = input_specs(graph, {**found, **data.input_shapes}, data.sample_axes)
    if not specs:
        raise InputRefused("the model has no inputs: there is nothing to calibrate on")
    table, left_out = _table(data, specs, graph, seed, facts)
    name = "random inputs" if data.path is None else described(data)
    if table.length == 0:
        raise InputRefused(f"{foreign(name)} holds no samples")
    order = np.random.default_rng(seed).permutation(table.length)[: data.samples]
    random, classes = data.path is None, class_count(graph)
    return CalibrationSource(
        name=name,
        specs=specs,
        table=table,
        order=order,
        classes=classes,
        is_random=random,
        left_out=left_out,
    )


def _table(
    data: DataConfig,
    specs: tuple[InputSpec, ...],
    graph: ModelGraph,
    seed: int,
    facts: ModelFacts | None,
) -> tuple[Table, tuple[str, ...]]:
    """The samples, and the files that are none."""
    if data.path is None:
        return _random_table(data, specs, facts or read_facts(graph, data.input_shapes), seed), ()
    if isinstance(data.path, InMemory):
        return held_table(data, specs), ()
    path = Path(data.path)
    if not path.exists() and ":" in data.path:
        return function_table(data.path, specs, data.samples), ()
    if not path.exists():
        raise FileSystemError(f"--data {foreign(path)}: no such file or folder")
    files = _files(path)
    images = tuple(file for file in files if file.suffix.lower() in SUFFIXES)
    arrays = tuple(file for file in files if file.suffix.lower() in (".npy", ".npz"))
    if bool(images) == bool(arrays):
        kinds = sorted({file.suffix.lower() for file in files})
        raise InputRefused(
            f"{foreign(path)}: got {foreign(', '.join(kinds) or 'an empty folder')}, "
            "expected .npz, .npy, a folder of these, or a folder of images"
        )
    if arrays and data.class_folders:
        raise UsageError("--class-folders belongs to a folder of images")
    if arrays:
        return _array_table(arrays, specs), _named(path, set(files) - set(arrays))
    table = image_table(images, specs, data, class_count(graph))
    return table, _named(path, set(files) - set(table.paths))


def _named(folder: Path, files: Iterable[Path]) -> tuple[str, ...]:
    """Files by their names within a folder."""
    return tuple(sorted(str(file.relative_to(folder)) for file in files))


def files_of(data: DataConfig) -> tuple[Path, ...]:
    """The files that are read, as far as they can be known beforehand: a path's, a function's."""
    if data.path is None or isinstance(data.path, InMemory):
        return ()
    path = Path(data.path)
    return _files(path) if path.exists() else files_of_function(data.path)


def _files(path: Path) -> tuple[Path, ...]:
    """The file, or the files in a folder and below, hidden ones left out."""
    if not path.is_dir() and not path.is_file():
        raise InputRefused(
            f"--data {foreign(path)}: no ordinary file (a pipe, a socket or a device)"
        )
    if not path.is_dir():
        return (path,)
    found = (file for file in path.rglob("*") if file.is_file() and not file.name.startswith("."))
    return tuple(sorted(found))


def _array_table(files: tuple[Path, ...], specs: tuple[InputSpec, ...]) -> ArrayTable:
    only = specs[0].name if len(specs) == 1 else None
    return array_table([(str(file), open_arrays(file, only)) for file in files], specs)


def _random_table(
    data: DataConfig, specs: tuple[InputSpec, ...], facts: ModelFacts, seed: int
) -> RandomTable:
    """Inputs of the size at which the model is known to run, or of the one that was asked for."""
    sizes = default_sizes(facts.graph, data.input_shapes)
    settled = facts.settled
    if settled is not None:
        sizes = (*settled.asked, settled.trials[0].sizes)[0]
    batched, _ = batch_extent(specs)
    crosses = settled is not None and settled.layout.crosses and not data.sample_axes
    whole = not batched or crosses
    sized = tuple(replace(spec, dims=tuple(sizes[spec.name])) for spec in specs)
    return RandomTable(sized, data.samples or RANDOM_SAMPLES, whole, seed)
