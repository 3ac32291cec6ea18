"""Producer -> consumer pairs of the real dataflow graph.

The parent of a layer is the tensor that it reads (in a residual net the sum, not the convolution
before it), its child channels are its own output before normalisation and activation.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onnxslim_snacs.errors import InternalError, foreign
from onnxslim_snacs.ir.types import Axis, Sink
from onnxslim_snacs.layers.real import real_value
from onnxslim_snacs.ops.analyse import Analysis


@dataclass(frozen=True, slots=True)
class Pair:
    """One layer with weights, as SNACS sees it.

    Attributes:
        node: position of its node.
        name: its name.
        data: the channel axis of the tensor that it reads (P parents).
        out: the channel axis of its output (C children).
        weight: (C, P) mean |w| over the taps; zero where a grouped layer has no connection.
        signed: (C, P) sum of w over the taps, which is what pooled inputs are multiplied with.
        groups: blocks of a grouped convolution.
    """

    node: int
    name: str
    data: Axis
    out: Axis
    weight: NDArray[np.float64]
    signed: NDArray[np.float64]
    groups: int


def layer_pairs(analysis: Analysis) -> Iterator[Pair]:
    """The layers whose weights are known: Conv, ConvTranspose, Gemm, MatMul with a weight."""
    for position, sink in analysis.ir.sinks:
        weight = layer_weight(analysis, sink)
        size = _size(analysis, sink)
        if weight is None or size is None or sink.out is None:
            continue
        strength = spread_groups(np.abs(weight).mean(axis=2), *size, sink.groups)
        signed = spread_groups(weight.sum(axis=2), *size, sink.groups)
        if strength is not None and signed is not None:
            name = analysis.nodes[position].name
            yield Pair(
                node=position,
                name=name,
                data=sink.axis,
                out=sink.out,
                weight=strength,
                signed=signed,
                groups=sink.groups,
            )


def layer_weight(analysis: Analysis, sink: Sink) -> NDArray[np.float64] | None:
    """The weight of a layer as (made, met, taps); None if it is no plain layer."""
    if sink.weight is None or sink.weight_out is None:
        return None
    if not analysis.facts.is_weight(sink.weight.tensor):
        return None
    weight = real_value(analysis, sink.weight_out)
    if weight is None:
        return None
    moved = np.moveaxis(weight.astype(np.float64), (sink.weight_out.dim, sink.weight.dim), (0, 1))
    return moved.reshape(*moved.shape[:2], -1)


def layer_matrix(analysis: Analysis, pair: Pair) -> NDArray[np.float64]:
    """(C, P, taps) the weight of an ungrouped layer.

    Raises:
        InternalError: it is not there any more.
    """
    for position, sink in analysis.ir.sinks:
        weight = layer_weight(analysis, sink) if position == pair.node else None
        if weight is not None and sink.axis == pair.data:
            return weight
    raise InternalError(f"layer {foreign(pair.name)} has lost its weight")


def _size(analysis: Analysis, sink: Sink) -> tuple[int, int] | None:
    """(children, parents) of a layer; None where an extent is dynamic."""
    if sink.out is None:
        return None
    made, met = (analysis.facts.shape(axis.tensor) for axis in (sink.out, sink.axis))
    if made is None or met is None:
        return None
    children, parents = made[sink.out.dim], met[sink.axis.dim]
    return None if children is None or parents is None else (children, parents)


def spread_groups(
    matrix: NDArray[np.float64], children: int, parents: int, groups: int
) -> NDArray[np.float64] | None:
    """Lay the blocks of a grouped layer out on the diagonal of a (C, P) matrix.

    Conv stores (C, P/g), ConvTranspose (C/g, P); which of the two it is shows in the shape.
    """
    if matrix.shape == (children, parents):
        return matrix
    full = np.zeros((children, parents))
    block_c, block_p = children // groups, parents // groups
    if matrix.shape == (children, block_p):
        child = np.arange(children)[:, None]
        full[child, (child // block_c) * block_p + np.arange(block_p)] = matrix
        return full
    if matrix.shape == (block_c, parents):
        parent = np.arange(parents)[None, :]
        full[(parent // block_p) * block_c + np.arange(block_c)[:, None], parent] = matrix
        return full
    return None
