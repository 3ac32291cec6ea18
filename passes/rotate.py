"""Turn a residual stream into the basis of its principal components (SliceGPT).

What the model computes stays; its channels are then ordered by what they carry, and the last ones
can be cut like any others.  Ashkboos et al. 2024 (arXiv:2401.15024), sections 3.1 to 3.3, with one
basis for the whole stream, so that no residual connection needs a map of its own.  A layer norm's
mean goes into the writers, its scale and shift into the readers.  What is left divides by the root
of a sum of squares, which is written as a product with stored numbers: there, zeros are as good as
nothing, and a cut takes exactly its terms (method 4.9).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, helper

from onnxslim_snacs.layers.layers import (
    FloatArray,
    Layer,
    weight_blocks,
    weight_from_blocks,
)
from onnxslim_snacs.layers.norms import Norm
from onnxslim_snacs.layers.streams import Stream
from onnxslim_snacs.model.edit import (
    add_initializer,
    free_name,
    get_value,
    put_nodes,
    set_value,
    taken_names,
)
from onnxslim_snacs.ops.analyse import Analysis


def rotate(analysis: Analysis, stream: Stream, basis: FloatArray) -> ModelProto:
    """The same function, with a stream in another basis.

    Args:
        analysis: the model.
        stream: the stream.
        basis: (width, width) orthogonal; column k is the new channel k in terms of the old ones.

    Returns:
        A new model; the analysed one is not changed.
    """
    model = ModelProto()
    model.CopyFrom(analysis.graph.proto)
    base_dir = analysis.graph.base_dir
    turn = basis
    if any(norm.centred for norm in stream.norms):
        turn = basis - basis.mean(axis=0)  # the mean over old channels is taken off by the writers
    for name, dim in stream.writers.items():
        old = get_value(model, name, base_dir)
        new = np.moveaxis(np.tensordot(old.astype(np.float64), turn, (dim, 0)), -1, dim)
        set_value(model, name, new.astype(old.dtype))
    instead: dict[int, list[NodeProto]] = {}
    after: dict[int, list[NodeProto]] = {}
    for layer, norm in stream.readers:
        _turn_reader(model, layer, norm, basis, get_value(model, layer.weight, base_dir), after)
    for norm in stream.norms:
        dtype = get_value(model, next(iter(stream.writers)), base_dir).dtype
        instead.update({position: [] for position in norm.nodes})
        instead[norm.nodes[-1]] = _bare(model, norm, stream.width, dtype)
    put_nodes(model.graph, after=after, instead=instead)
    _forget(model, stream)
    return model


def _turn_reader(
    model: ModelProto,
    layer: Layer,
    norm: Norm | None,
    basis: FloatArray,
    weight: NDArray[Any],
    after: dict[int, list[NodeProto]],
) -> None:
    """W diag(scale) in the new basis, and W shift added behind the layer."""
    blocks = weight_blocks(layer, weight)[0]
    by_tap = blocks.reshape(-1, len(basis), blocks.shape[-1])
    scale = np.ones(len(basis)) if norm is None else norm.scale
    turned = np.einsum("ij,tio->tjo", basis * scale[:, None], by_tap)
    set_value(
        model, layer.weight, weight_from_blocks(layer, turned.reshape(1, *blocks.shape), weight)
    )
    if norm is None or not np.any(norm.shift != 0):
        return
    added = np.einsum("i,tio->o", norm.shift, by_tap).astype(weight.dtype)
    taken = taken_names(model.graph)
    inner = free_name(f"{layer.out}_turned", taken)
    name = add_initializer(
        model,
        free_name(f"{layer.out}_shift", taken),
        added.reshape(-1, *(1,) * (layer.rank - 1 - layer.out_dim)),
    )
    outputs = model.graph.node[layer.position].output
    outputs[list(outputs).index(layer.out)] = inner
    after[layer.position] = [helper.make_node("Add", [inner, name], [layer.out])]


def _bare(model: ModelProto, norm: Norm, width: int, dtype: np.dtype[Any]) -> list[NodeProto]:
    """A norm without mean, scale and shift: x / Sqrt(x^2 w + epsilon) with w = 1 / width."""
    if not norm.scaled:
        return [helper.make_node("Identity", [norm.data], [norm.out])]
    taken = taken_names(model.graph)
    stem = free_name(f"{norm.out}_rms", taken)
    share = np.full((width, 1), 1.0 / width, dtype=dtype)
    names = [f"{stem}_{part}" for part in ("square", "mean", "positive", "sum", "root")]
    weight = add_initializer(model, f"{stem}_share", share)
    epsilon = add_initializer(model, f"{stem}_epsilon", np.array(norm.epsilon, dtype=dtype))
    return [
        helper.make_node("Mul", [norm.data, norm.data], [names[0]]),
        helper.make_node("MatMul", [names[0], weight], [names[1]]),
        helper.make_node("Relu", [names[1]], [names[2]]),  # what is re-fitted may fall below zero
        helper.make_node("Add", [names[2], epsilon], [names[3]]),
        helper.make_node("Sqrt", [names[3]], [names[4]]),
        helper.make_node("Div", [norm.data, names[4]], [norm.out]),
    ]


def _forget(model: ModelProto, stream: Stream) -> None:
    """Remove the constants that the norms had, where nobody else reads them."""
    read = {name for node in model.graph.node for name in node.input}
    ours = {name for norm in stream.norms for name in norm.constants} - read
    for tensor in [t for t in model.graph.initializer if t.name in ours]:
        model.graph.initializer.remove(tensor)
    for info in [i for i in model.graph.input if i.name in ours]:
        model.graph.input.remove(info)
