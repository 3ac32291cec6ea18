"""MatMulNBits: a product with a weight of a few bits, packed in blocks along the summed axis.

Data (..., k), weight (n, blocks, bytes of a block), scales (n, blocks) or (n x blocks), zero points
alike or packed (n x bytes of a row), bias (n); k = (blocks, block size).  Rows go freely, summed
slots by whole blocks, and where several zero points share a byte, by as many blocks as that.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxslim_snacs.ir.types import Axis, Extent, Fact, Pin, Sink, Split, Tie, virtual_axis
from onnxslim_snacs.ops.common import pin_structural, same_axes
from onnxslim_snacs.ops.node import Edit, Keep, OpNode, SetAttribute, arange, known
from onnxslim_snacs.ops.products import Product, Weight, extents, was_run
from onnxslim_snacs.ops.registry import Family, OpRule

_SCALES, _POINTS, _ORDER, _BIAS = 2, 3, 4, 5


def propagate(node: OpNode) -> Iterable[Fact]:
    """Rows run to the output, blocks of the summed axis through weight, scales and zero points."""
    rank = len(known(node.in_shape(0)))
    data, out = node.in_axis(0, -1), node.out_axis(-1)
    yield from same_axes(node, 0, range(rank - 1))
    yield Tie(node.in_axis(1, 0), out)
    yield from pin_structural([node.in_axis(1, 2)], "numbers that share bytes")
    yield Sink(data, 0, None, None, node.in_axis(1, 0), out)
    if node.has_input(_BIAS):
        yield Tie(node.in_axis(_BIAS, 0), out)
    for index in (_SCALES, _POINTS):
        if node.has_input(index):
            yield from _beside(node, index, known(node.in_shape(1))[1])
    yield from _blocks(node, data)


def _blocks(node: OpNode, data: Axis) -> Iterator[Fact]:
    """The summed axis is (blocks, numbers in a block)."""
    k, size = int(node.attr("K")), int(node.attr("block_size"))
    blocks = known(node.in_shape(1))[1]
    if blocks is None or k != blocks * size or node.has_input(_ORDER):
        reason = "the summed axis is no whole number of blocks, or is read in another order"
        yield Pin(data, reason)
        yield Pin(node.in_axis(1, 1), reason)
        if node.has_input(_ORDER):
            yield Pin(node.in_axis(_ORDER, 0), reason)
        return
    inside = virtual_axis(node.key, "numbers in a block")
    yield Extent(inside, size)
    yield from pin_structural([inside], "quantised in blocks of neighbours")
    yield Split(data, (node.in_axis(1, 1), inside))


def _beside(node: OpNode, index: int, blocks: int | None) -> Iterator[Fact]:
    """A number for each block of each row, or several in a byte."""
    shape, rows = known(node.in_shape(index)), known(node.in_shape(1))[0]
    total = prod(extent or 0 for extent in shape)
    if not rows or not blocks or total % rows:
        reason = "scales of unknown order"
        yield from (Pin(node.in_axis(index, d), reason) for d in range(len(shape)))
        yield from (Pin(node.in_axis(1, d), reason) for d in (0, 1))
        return
    width = total // rows
    along = node.in_axis(index, 1) if len(shape) == 2 else virtual_axis(node.key, f"row of {index}")
    if len(shape) == 2:
        yield Tie(node.in_axis(index, 0), node.in_axis(1, 0))
    else:
        yield Extent(along, width)
        yield Split(node.in_axis(index, 0), (node.in_axis(1, 0), along))
    share = -(-blocks // width)
    yield Tie(node.in_axis(1, 1), along, arange(0, blocks), arange(0, blocks) // share)


def shrink(node: OpNode, keep: Keep) -> Iterable[Edit]:
    """`N` and `K` count what is left."""
    for name, axis in (("N", node.out_axis(-1)), ("K", node.in_axis(0, -1))):
        before = int(node.attr(name))
        left = keep.extent(axis, before)
        if left != before:
            yield SetAttribute(name, left)


def macs(node: OpNode) -> Iterable[Product]:
    """Every output element takes one product for each summed slot."""
    if was_run(node, (0,)):
        summed = extents(node, node.inputs[0])[-1]
        yield Product(1.0, (*extents(node, node.outputs[0]), summed))


def real_weight(node: OpNode, index: int, axis: int) -> NDArray[Any] | None:
    """(n, k): numbers from the low bits of a byte up, less their zero point, times their scale."""
    bits, size = int(node.attr("bits", 4)), int(node.attr("block_size"))
    packed, scale = node.in_value(1), node.in_value(_SCALES)
    if index != 1 or packed is None or scale is None or bits not in (2, 4, 8):
        return None
    rows, blocks, _ = packed.shape
    numbers = _unpacked(packed, bits)[:, :, :size].astype(np.float32)
    point = node.in_value(_POINTS)
    zero: NDArray[Any] = np.full((rows, blocks), 1 << (bits - 1), dtype=np.float32)
    if point is not None and point.dtype == np.uint8:
        zero = _unpacked(point.reshape(rows, -1), bits)[:, :blocks].astype(np.float32)
    elif point is not None:
        zero = point.reshape(rows, blocks).astype(np.float32)
    factor = scale.reshape(rows, blocks).astype(np.float32)
    real: NDArray[Any] = ((numbers - zero[..., None]) * factor[..., None]).reshape(rows, -1)
    return real


def _unpacked(packed: NDArray[Any], bits: int) -> NDArray[Any]:
    """The numbers that share bytes, along the last axis."""
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    numbers = (packed[..., None] >> shifts) & np.uint8((1 << bits) - 1)
    return numbers.reshape(*packed.shape[:-1], -1)


RULES: Family = {
    "com.microsoft::MatMulNBits": OpRule(
        propagate, shrink, macs, Weight((1, 2, 3, 5), real=real_weight)
    )
}
