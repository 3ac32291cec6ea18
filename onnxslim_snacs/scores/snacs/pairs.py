"""Producer -> consumer pairs of the real dataflow graph.

The parent of a layer is the tensor that it reads (in a residual net the sum, not the convolution
before it), its child channels are its own output before normalisation and activation.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onnxslim_snacs.ir.types import Axis, Sink
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
        groups: blocks of a grouped convolution.
    """

    node: int
    name: str
    data: Axis
    out: Axis
    weight: NDArray[np.float64]
    groups: int


def layer_pairs(analysis: Analysis) -> Iterator[Pair]:
    """The layers whose weights are known: Conv, ConvTranspose, Gemm, MatMul with a weight."""
    for position, sink in analysis.ir.sinks:
        matrix = connection_strength(analysis, sink)
        if matrix is None or sink.out is None:
            continue
        yield Pair(
            position, analysis.nodes[position].name, sink.axis, sink.out, matrix, sink.groups
        )


def connection_strength(analysis: Analysis, sink: Sink) -> NDArray[np.float64] | None:
    """(C, P) mean absolute weight between child c and parent p; None if it is no plain layer."""
    if sink.weight is None or sink.weight_out is None or sink.out is None:
        return None
    facts = analysis.facts
    shape, made = facts.shape(sink.axis.tensor), facts.shape(sink.out.tensor)
    weight = facts.value(sink.weight.tensor) if facts.is_weight(sink.weight.tensor) else None
    if weight is None or shape is None or made is None or weight.dtype.kind != "f":
        return None
    parents, children = shape[sink.axis.dim], made[sink.out.dim]
    if parents is None or children is None:
        return None
    rest = tuple(d for d in range(weight.ndim) if d not in (sink.weight.dim, sink.weight_out.dim))
    matrix = (
        np.abs(weight.astype(np.float64)).mean(axis=rest)
        if rest
        else np.abs(weight).astype(np.float64)
    )
    if sink.weight_out.dim > sink.weight.dim:
        matrix = matrix.T
    return spread_groups(matrix, children, parents, sink.groups)


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
