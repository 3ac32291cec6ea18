"""What is drawn of one run: rows of what layers read, and sums of what they make."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from onnxslim_snacs.arithmetic.torch_rows import channel_sums
from onnxslim_snacs.ir.types import IntArray
from onnxslim_snacs.layers.layers import Layer, weight_blocks
from onnxslim_snacs.layers.moments import FloatArray
from onnxslim_snacs.layers.parts_of_rows import Multiplied, part_of
from onnxslim_snacs.layers.rows import layer_rows, target_rows
from onnxslim_snacs.layers.rows_there import picked_there, rows_there
from onnxslim_snacs.layers.typed import real_constant
from onnxslim_snacs.ops.analyse import Analysis


@dataclass(frozen=True, slots=True)
class Reading:
    """A layer, and the tensor into which it runs.

    Attributes:
        layer: a layer of the original, of one group.
        target: the tensor.
    """

    layer: Layer
    target: str

    def is_told_by_moments(self, analysis: Analysis) -> bool:
        """Whether the target need not be looked at.

        What a layer makes has the spread that its weights make of that of what it reads; and where
        its positions are is known without it, unless they change with the input.
        """
        layer, facts = self.layer, analysis.facts
        if self.target != layer.out or real_constant(analysis.graph, layer.weight) is None:
            return False
        shapes = (facts.shape(name) or (None, None, None) for name in (layer.data, layer.out))
        return layer.is_matrix or all(None not in shape[2:] for shape in shapes)


@dataclass(slots=True)
class TargetSums:
    """Sums by channel over positions."""

    rows: int = 0
    sum: FloatArray | float = 0.0
    squares: FloatArray | float = 0.0

    def add(self, other: TargetSums) -> None:
        """Take in the sums over other positions."""
        self.rows += other.rows
        self.sum = self.sum + other.sum
        self.squares = self.squares + other.squares

    @property
    def variance(self) -> float:
        """Variance summed over the channels."""
        count = max(1, self.rows)
        return float(np.sum(self.squares / count - np.square(self.sum / count)))


@dataclass(frozen=True, slots=True)
class Drawn:
    """What was drawn of one batch for one tensor as some layers read it.

    Attributes:
        part: its rows; None if there are none.
        spreads: of the target of each of those layers.
    """

    part: Multiplied | None
    spreads: tuple[TargetSums, ...]


def draw(
    analysis: Analysis,
    readings: Sequence[Reading],
    cap: int,
    values: Mapping[str, Any],
    rng: np.random.Generator,
) -> Drawn:
    """Draw positions of one run.

    Args:
        analysis: the model.
        readings: layers that read one tensor in the same way.
        cap: rows to take at the most.
        values: tensor -> value in that run, an array or a tensor of torch.
        rng: for the choice of rows.
    """
    first = readings[0].layer
    node, data = analysis.graph.nodes[first.position], values[first.data]
    shape = _made_shape(analysis, readings, values)
    positions = prod(shape) // shape[first.out_dim]
    count = min(cap, positions)
    chosen = np.sort(rng.choice(positions, count, replace=False, shuffle=False))
    if isinstance(data, np.ndarray):
        rows = layer_rows(first, node, data, shape, chosen)[0]
    else:
        rows = rows_there(first, node, data, shape, chosen)
    part = part_of(rows) if len(rows) else None
    return Drawn(part, tuple(_sums_of(one, values, chosen) for one in readings))


def _made_shape(
    analysis: Analysis, readings: Sequence[Reading], values: Mapping[str, Any]
) -> tuple[int, ...]:
    """The shape of what layers make in a run that read one tensor in the same way."""
    seen = next((values[r.target] for r in readings if r.target in values), None)
    if seen is not None:
        return tuple(seen.shape)
    layer = readings[0].layer
    shape = list(values[layer.data].shape)
    if layer.is_matrix:
        del shape[layer.data_dim]
        shape.insert(layer.out_dim, layer.outputs)
        return tuple(shape)
    made = analysis.facts.shape(layer.out) or ()
    return (shape[0], layer.outputs, *(extent for extent in made[2:] if extent is not None))


def made_of(analysis: Analysis, reading: Reading, covariance: FloatArray) -> float:
    """Variance of what a layer makes, summed over its channels.

    Args:
        analysis: the model.
        reading: the layer.
        covariance: (features, features) of what it reads.
    """
    layer = reading.layer
    weight = real_constant(analysis.graph, layer.weight)
    assert weight is not None
    node = analysis.graph.nodes[layer.position]
    gain = next((a.f for a in node.attribute if a.name == layer.trained.gain), 1.0)
    blocks = gain * weight_blocks(layer, weight)[0]
    return float(np.einsum("do,do->", blocks, covariance @ blocks))


def _sums_of(reading: Reading, values: Mapping[str, Any], chosen: IntArray) -> TargetSums:
    target = values.get(reading.target)
    if target is None:
        return TargetSums()
    if not isinstance(target, np.ndarray):
        return TargetSums(*channel_sums(picked_there(target, reading.layer.out_dim, chosen)))
    rows = target_rows(target, reading.layer.out_dim, 1, chosen)[0].astype(np.float64)
    return TargetSums(len(rows), rows.sum(axis=0), np.square(rows).sum(axis=0))
