"""What the rest of the package asks of an operator that multiplies: its products and its weight."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from math import prod
from typing import Any

from numpy.typing import NDArray

from onnxslim_snacs.ir.types import Axis
from onnxslim_snacs.ops.node import OpNode

#: (node, position of an input, axis) -> real numbers.
Real = Callable[[OpNode, int, int], NDArray[Any] | None]
#: Axes that may lose slots, with their extents before.
Extents = tuple[tuple[Axis, int], ...]


@dataclass(frozen=True, slots=True)
class Product:
    """A number of multiply-accumulates: `factor` times the extents of `axes`.

    Attributes:
        factor: what no cut changes (samples, time steps, pixels).
        axes: what a cut may change; an axis of a tensor or a virtual one of the node.
    """

    factor: float
    axes: Extents


class LayerForm(Enum):
    """How what a layer reads is multiplied with its weights, which is what a re-fit has to know."""

    MATRIX = "vectors with a matrix"
    CONVOLUTION = "patches with filters (made, met / groups, taps ...)"
    TRANSPOSED = "patches with filters (met, made / groups, taps ...), taps mirrored"


@dataclass(frozen=True, slots=True)
class Weight:
    """The trained numbers of an operator.

    Along which axes they are summed over is no part of this: the rule's `Sink` says it.

    Attributes:
        inputs: positions of the inputs that hold them, None for all; infinity is a fault there.
        form: how the layer can be re-fitted; None if nobody has written down how.
        bias: position of the vector that is added to the output channels; None if there is none.
        gain: attribute by which the product is multiplied, "" for none.
        bias_gain: attribute by which the bias is multiplied, "" for none.
        real: what the numbers at an input stand for where they are stored as integers, (node,
            position of the input, axis that makes output channels) -> the same axes in float, those
            behind the first perhaps unpacked; None where that is not known.
    """

    inputs: tuple[int, ...] | None
    form: LayerForm | None = None
    bias: int | None = None
    gain: str = ""
    bias_gain: str = ""
    real: Real | None = None


def no_products(node: OpNode) -> Iterable[Product]:
    """For operators that multiply nothing that is summed over."""
    return ()


def extents(node: OpNode, tensor: str) -> Extents:
    """The axes of a tensor with their extents in the fullest run; () where it was in none."""
    seen = node.facts.samples(tensor)
    shape = seen[node.facts.fullest] if seen else ()
    return tuple((Axis(tensor, dim), extent) for dim, extent in enumerate(shape))


def was_run(node: OpNode, inputs: Sequence[int]) -> bool:
    """Whether the extents of some inputs and of the first output are known."""
    around = [node.inputs[k] for k in inputs] + list(node.outputs[:1])
    return all(node.facts.samples(name) for name in around if name)


def contraction(
    node: OpNode, operands: Mapping[int, Sequence[str]], out: Sequence[str]
) -> Iterator[Product]:
    """A sum of products, two operands at a time from the left.

    Every step takes one product for each combination of the labels that it meets; a label that
    neither a later operand nor the output has is summed over and gone.

    Args:
        node: the node.
        operands: position of an input -> a label for each of its axes.
        out: a label for each axis of output 0.
    """
    if not was_run(node, list(operands)):
        return
    places: dict[str, tuple[Axis, int]] = {}
    for operand, labels in operands.items():
        for label, place in zip(labels, extents(node, node.inputs[operand]), strict=True):
            if label not in places or places[label][1] == 1:  # an extent of 1 is spread
                places[label] = place
    made = zip(out, extents(node, node.outputs[0]), strict=True)
    places.update((label, place) for label, place in made if place[1] != 1)
    rest = [dict.fromkeys(labels) for labels in operands.values()]
    left = rest.pop(0)
    while rest:
        met = left | rest.pop(0)
        yield Product(1.0, tuple(places[label] for label in met))
        later = {label for labels in rest for label in labels}.union(out)
        left = {label: None for label in met if label in later}


def convolution(node: OpNode, weight: int = 1) -> Iterator[Product]:
    """Every output element takes (channels of its group) x taps products."""
    if was_run(node, (0, weight)):
        filters = extents(node, node.inputs[weight])
        yield Product(1.0, (*extents(node, node.outputs[0]), *filters[1:]))


def transposed_convolution(node: OpNode) -> Iterator[Product]:
    """Every input element is spread to (filters of its group) x taps."""
    if was_run(node, (0, 1)):
        filters = extents(node, node.inputs[1])
        yield Product(1.0, (*extents(node, node.inputs[0]), *filters[1:]))


def recurrence(node: OpNode) -> Iterator[Product]:
    """Every step takes the input weights and the recurrent weights once."""
    if was_run(node, (0, 1, 2)):
        steps = prod(extent for _, extent in extents(node, node.inputs[0])[:2])
        for weight in node.inputs[1:3]:
            yield Product(float(steps), extents(node, weight))


def attention(
    batch: int, times: tuple[int, int], heads: tuple[Axis, int], *widths: tuple[Axis, int]
) -> Iterator[Product]:
    """Scores of every query with every key, and the sum of the values by them.

    Args:
        batch: samples.
        times: queries, and keys with those of the past.
        heads: the axis of query heads.
        widths: the axes of the width of queries and keys, and of the width of values.
    """
    for width in widths:
        yield Product(float(batch * times[0] * times[1]), (heads, width))
