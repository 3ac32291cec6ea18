"""As `rows`, of activations that lie where torch computes: nothing but what is drawn is moved."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnx import NodeProto

from onnxslim_snacs.arithmetic.torch_arrays import put, taken
from onnxslim_snacs.ir.types import IntArray
from onnxslim_snacs.layers.layers import Layer
from onnxslim_snacs.layers.rows import Ints, patches, places_of, read_window
from onnxslim_snacs.torch_graph.late import torch

if TYPE_CHECKING:
    from torch import Tensor


def rows_there(layer: Layer, node: NodeProto, x: Tensor, out: Ints, chosen: IntArray) -> Tensor:
    """(rows, features) what a layer of one group reads for some output positions.

    Args:
        layer: the layer.
        node: its node.
        x: its input.
        out: shape of its output.
        chosen: output positions, numbered row-major over the output without its channel axis.
    """
    if layer.is_matrix:
        return picked_there(x, layer.data_dim, chosen).to(torch.float32)
    shape, device = tuple(x.shape), str(x.device)
    window = read_window(node, layer.kernel, shape[2:], out[2:], transposed=layer.transposed)
    if window.transposed:  # zeros lie between the positions of its input
        return put(patches(taken(x), window, out[2:], chosen).reshape(len(chosen), -1), device)
    sample, flat, inside = (put(a, device) for a in places_of(shape, window, out[2:], chosen))
    whole = x.reshape(shape[0], shape[1], -1)
    rows = whole[sample[:, None], :, flat].to(torch.float32)
    return rows.masked_fill(~inside[:, :, None], 0.0).reshape(len(chosen), -1)


def picked_there(value: Tensor, dim: int, chosen: IntArray) -> Tensor:
    """(rows, channels) of a tensor at positions that are numbered row-major over its other axes."""
    channels = value.shape[dim]
    if value.numel() == 0:  # rows that a value decides on may be none
        return value.reshape(0, channels)
    inner = value.shape[dim + 1 :].numel()
    where = put(chosen, str(value.device))
    return value.reshape(-1, channels, inner)[where // inner, :, where % inner]
