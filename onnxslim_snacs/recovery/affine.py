"""What a layer computes, as an affine map of its features."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto

from onnxslim_snacs.layers.layers import Layer, weight_blocks, weight_from_blocks
from onnxslim_snacs.layers.moments import FloatArray
from onnxslim_snacs.layers.tail import channel_vector
from onnxslim_snacs.layers.typed import Typed, growth, in_type, real_constant, scale_of, typed
from onnxslim_snacs.model.graph import ModelGraph, stored
from onnxslim_snacs.recovery.solve import Affine


def read_affine(cut: ModelGraph, layer: Layer) -> Affine | None:
    """What a layer computes; None if its bias is not one number for each channel.

    Returns:
        weight (groups, features, outputs of a group) and bias (groups, outputs of a group).
    """
    node, weight = cut.nodes[layer.position], real_constant(cut, layer.weight)
    assert weight is not None
    blocks = weight_blocks(layer, weight) * alpha(layer, node)
    bias: FloatArray | None = np.zeros(layer.outputs)
    if has_bias(layer, node):
        value = real_constant(cut, bias_of(layer, node))
        if layer.is_matrix:  # spread over the output; that of a convolution lies along its channels
            bias = channel_vector(value, layer)
        else:
            bias = None if value is None else value.astype(np.float64)
    if bias is None:
        return None
    return Affine(blocks, (bias * beta(layer, node)).reshape(blocks.shape[0], -1))


def alpha(layer: Layer, node: NodeProto) -> float:
    """By what a layer multiplies its product (Gemm's alpha)."""
    return _attribute(node, layer.trained.gain)


def beta(layer: Layer, node: NodeProto) -> float:
    """By what a layer multiplies its bias (Gemm's beta)."""
    return _attribute(node, layer.trained.bias_gain)


def _attribute(node: NodeProto, name: str) -> float:
    return next((float(a.f) for a in node.attribute if a.name == name), 1.0)


def bias_of(layer: Layer, node: NodeProto) -> str:
    """The vector that a layer adds; "" if there is none."""
    place = layer.trained.bias
    return node.input[place] if place is not None and place < len(node.input) else ""


def has_bias(layer: Layer, node: NodeProto) -> bool:
    """Whether a layer adds a vector to its product."""
    return bias_of(layer, node) != "" and beta(layer, node) != 0


def is_retyped(cut: ModelGraph, layer: Layer) -> bool:
    """Whether the file has a layer's weights or its bias in another type or order."""
    places = (
        typed(cut, name) for name in (layer.weight, bias_of(layer, cut.nodes[layer.position]))
    )
    return any(place is not None and place.steps for place in places)


def retyped(cut: ModelGraph, layer: Layer, fit: Affine) -> dict[str, NDArray[Any]]:
    """What has to be stored for a layer to compute a map, as nearly as the file's types allow.

    Where the weights of a quantised layer outgrow their type, their scale grows, and with it that
    of the bias, which runtimes take to be the product of the scales of weight and data.

    Args:
        cut: the model.
        layer: a layer with weights or bias in another type.
        fit: the map.

    Returns:
        Stored tensor -> value.  A bias in the type of the layer is not among them.
    """
    node, like = cut.nodes[layer.position], real_constant(cut, layer.weight)
    place = typed(cut, layer.weight)
    assert like is not None
    assert place is not None
    wanted = weight_from_blocks(layer, fit.weight / alpha(layer, node), like)
    lies = typed(cut, bias_of(layer, node)) if has_bias(layer, node) else None
    bias = None
    if lies is not None and lies.steps and lies.value.size == layer.outputs:
        shared = len(cut.consumers[bias_of(layer, node)]) > 1
        bias = None if shared else fit.bias.reshape(-1) / beta(layer, node)
    scale, bias_scale = _larger_scales(cut, place, wanted, None if bias is None else lies)
    found = in_type(cut, place, wanted, scale)
    if bias is not None and lies is not None:
        found |= in_type(cut, lies, bias.reshape(lies.value.shape), bias_scale)
    return found


def _larger_scales(
    cut: ModelGraph, place: Typed, wanted: NDArray[Any], bias: Typed | None
) -> tuple[NDArray[Any] | None, NDArray[Any] | None]:
    """Scales of weight and bias under which the weight fits its type; None where they stay."""
    name = scale_of(cut, place)
    scale = stored(cut, name) if name else None
    if scale is None or scale.ndim > 1 or place.value.dtype.kind not in "iu":
        return None, None
    factor = growth(cut, place, wanted)
    if (factor == 1).all():
        return None, None
    larger = (scale.reshape(-1) * factor).reshape(scale.shape).astype(scale.dtype)
    if bias is None:
        return larger, None
    name = scale_of(cut, bias)
    other = stored(cut, name) if name else None
    if other is None or other.ndim > 1 or other.size not in (1, factor.size):
        return None, None
    if other.size == 1 and factor.size > 1:
        return None, None
    return larger, (other.reshape(-1) * factor).reshape(other.shape).astype(other.dtype)


def as_stored(cut: ModelGraph, layer: Layer, fit: Affine) -> Affine:
    """What a layer computes if it is given this map, once that is stored in the file's type."""
    node, values = cut.nodes[layer.position], retyped(cut, layer, fit)
    kept = real_constant(cut, layer.weight, values)
    assert kept is not None
    bias, lies = fit.bias, typed(cut, bias_of(layer, node)) if has_bias(layer, node) else None
    if lies is not None and lies.name in values:
        stays = real_constant(cut, bias_of(layer, node), values)
        assert stays is not None
        bias = stays.astype(np.float64).reshape(bias.shape) * beta(layer, node)
    return Affine(weight_blocks(layer, kept) * alpha(layer, node), bias)


def scaled(fit: Affine, scale: FloatArray) -> Affine:
    """The map followed by a factor for each output.

    Args:
        fit: weight (g, d, o), bias (g, o).
        scale: (g x o,).
    """
    factor = scale.reshape(fit.bias.shape)
    return Affine(fit.weight * factor[:, None, :], fit.bias * factor)


def unscaled(fit: Affine, scale: FloatArray, otherwise: Affine) -> Affine:
    """The inverse of `scaled`; outputs with factor 0 stay as they are `otherwise`.

    Args:
        fit: weight (g, d, o), bias (g, o).
        scale: (g x o,).
        otherwise: of the same shapes.
    """
    factor = scale.reshape(fit.bias.shape)
    dead = factor == 0
    back = scaled(fit, 1.0 / np.where(dead, 1.0, factor))
    return Affine(
        np.where(dead[:, None, :], otherwise.weight, back.weight),
        np.where(dead, otherwise.bias, back.bias),
    )


def followed(first: Affine, step: Affine) -> Affine:
    """A map followed by a scale and a shift of each output, given as one block for each of them."""
    scale, shift = (a.reshape(first.bias.shape) for a in (step.weight, step.bias))
    return Affine(first.weight * scale[:, None, :], first.bias * scale + shift)


def identity(outputs: int) -> Affine:
    """Each output by itself, unchanged."""
    return Affine(np.ones((outputs, 1, 1)), np.zeros((outputs, 1)))
