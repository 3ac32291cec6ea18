"""Calibration data: checked as they are read, given in batches that fit the model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from onnxslim_snacs.activations.arrays import Rows
from onnxslim_snacs.activations.inputs import (
    LABELS,
    InputSpec,
    batch_extent,
    check_labels,
    conform,
)
from onnxslim_snacs.activations.tables import (
    Block,
    Table,
    has_labels,
)
from onnxslim_snacs.model.facts import ModelFacts
from onnxslim_snacs.model.sizes import Shape

#: Samples in a run if the model leaves it open.
BATCH = 32
#: Samples whose shapes the analysis of a model begins with.
SHAPES = 4


@dataclass(frozen=True, slots=True)
class Batch:
    """Samples for one run.

    Attributes:
        inputs: input -> array as the model takes it; in a model with a fixed batch the last sample
            is repeated to fill it.
        size: number of samples, repetitions not counted.
        filled: number of samples with repetitions, which is the model's batch.
        index: (sample,) their numbers in the source.
        labels: (sample,) their classes, if known.
        axes: input -> the dimension along which the samples lie, where that is not the first.
    """

    inputs: dict[str, NDArray[Any]]
    size: int
    filled: int
    index: Rows
    labels: NDArray[np.int64] | None = None
    axes: Mapping[str, int] = field(default_factory=dict)

    def repeated(self) -> dict[str, NDArray[Any]]:
        """A run of nothing but the last sample, which also fills the batch."""
        return {
            name: np.repeat(np.take(v, [-1], axis=axis), v.shape[axis], axis=axis)
            for name, v in self.inputs.items()
            for axis in (self.axes.get(name, 0),)
        }


#: The samples of one run, or their numbers in the table.
Piece: TypeAlias = Batch | Rows


@dataclass(frozen=True)
class CalibrationSource:
    """Samples.

    Attributes:
        name: where they come from.
        specs: the model's inputs.
        table: what is behind.
        order: (sample,) numbers of the samples in the table, shuffled, so that every part of the
            source is a random choice.
        classes: number of classes of the model, if it has a class output.
        is_random: whether the inputs are made up.
        left_out: files that are no samples.
    """

    name: str
    specs: tuple[InputSpec, ...]
    table: Table
    order: Rows
    classes: int | None = None
    is_random: bool = False
    left_out: tuple[str, ...] = ()

    @property
    def samples(self) -> int:
        """Number of samples."""
        return len(self.order)

    @property
    def has_labels(self) -> bool:
        """Whether the classes of the samples are known."""
        return has_labels(self.table)

    @property
    def fixed_batch(self) -> int | None:
        """Samples in every run; None if that is free."""
        return 1 if self.table.whole else batch_extent(self.specs)[1]

    def part(self, start: int, stop: int) -> CalibrationSource:
        """Samples `start` to `stop` of the shuffled order: a random choice without overlap."""
        return replace(self, order=self.order[start:stop])

    def settled(self, facts: ModelFacts) -> CalibrationSource:
        """The same in the batches in which the model is known to run.

        What declares its batch to be free may still hold a number of samples somewhere inside.
        """
        specs = tuple(_settled(spec, facts.shape(spec.name)) for spec in self.specs)
        return replace(self, specs=specs) if facts.ran and not self.table.whole else self

    def batches(self, size: int | None = None) -> Iterator[Batch]:
        """All samples once, in the order of the files; in a run all have the same shapes.

        Args:
            size: samples in a run, unless the model fixes it; None for 32.

        Raises:
            InputRefused: values that the model cannot take.
        """
        fixed = self.fixed_batch
        size = fixed or size or BATCH
        for rows in self.table.alike(np.sort(self.order)):
            done = 0
            for block in self.table.blocks(rows, size):
                count = len(next(iter(block.values())))
                yield self._batch(block, rows[done : done + count], fixed)
                done += count

    def pieces(self, size: int) -> Iterator[Piece]:
        """What `batches` gives, by the samples alone where any of them can be read at once.

        Args:
            size: samples in a run, unless the model fixes it.
        """
        size = self.fixed_batch or size
        if not self.table.seeks:
            yield from self.batches(size)
            return
        for rows in self.table.alike(np.sort(self.order)):
            yield from (rows[at : at + size] for at in range(0, len(rows), size))

    def batch(self, piece: Piece) -> Batch:
        """The samples of a piece.

        Raises:
            InputRefused: values that the model cannot take.
        """
        if isinstance(piece, Batch):
            return piece
        (block,) = self.table.blocks(piece, len(piece))
        return self._batch(block, piece, self.fixed_batch)

    def shapes(self) -> list[dict[str, tuple[int | None, ...]]]:
        """The shapes of a few samples, as the model takes them; None where that is a free batch."""
        found = []
        for batch in self.part(0, SHAPES).batches(1):
            shapes: dict[str, tuple[int | None, ...]] = {
                name: tuple(
                    None if dim == batch.axes.get(name, 0) and not self.fixed_batch else extent
                    for dim, extent in enumerate(value.shape)
                )
                for name, value in batch.inputs.items()
            }
            if shapes not in found:
                found.append(shapes)
        return found

    def _batch(self, block: Block, index: Rows, fixed: int | None) -> Batch:
        labels = block.get(LABELS)
        inputs = {}
        for spec in self.specs:
            values = conform(self.name, spec, block[spec.name], whole=self.table.whole)
            if self.table.whole:
                values = np.asarray(values[0])  # a scalar stays an array
            elif fixed is not None and len(values) < fixed:
                values = np.concatenate([values, values[-1:].repeat(fixed - len(values), axis=0)])
            if spec.sample_dim and not self.table.whole:
                values = np.ascontiguousarray(np.moveaxis(values, 0, spec.sample_dim))
            inputs[spec.name] = values
        axes = {s.name: s.sample_dim for s in self.specs if s.sample_dim}
        checked = None if labels is None else check_labels(self.name, labels, self.classes)
        return Batch(inputs, len(index), fixed or len(index), index, checked, axes)


def _settled(spec: InputSpec, shape: Shape | None) -> InputSpec:
    if shape is None or len(shape) != len(spec.dims) or not spec.dims:
        return spec
    at = spec.sample_dim
    extent = spec.dims[at] if shape[at] is None else shape[at]
    return replace(spec, dims=(*spec.dims[:at], extent, *spec.dims[at + 1 :]))
