"""What a layer computes, as an affine map of its features."""

from __future__ import annotations

import numpy as np
from onnx import NodeProto

from onnxslim_snacs.layers.layers import Layer, stored, weight_blocks
from onnxslim_snacs.layers.moments import FloatArray
from onnxslim_snacs.layers.tail import channel_vector
from onnxslim_snacs.model.graph import ModelGraph
from onnxslim_snacs.recovery.solve import Affine


def read_affine(cut: ModelGraph, layer: Layer) -> Affine | None:
    """What a layer computes; None if its bias is not one number for each channel.

    Returns:
        weight (groups, features, outputs of a group) and bias (groups, outputs of a group).
    """
    node, weight = cut.nodes[layer.position], stored(cut, layer.weight)
    assert weight is not None
    blocks = weight_blocks(layer, weight) * alpha(node)
    bias: FloatArray | None = np.zeros(layer.outputs)
    if layer.op != "MatMul" and has_bias(node):
        value = stored(cut, node.input[2])
        if layer.op == "Gemm":
            bias = channel_vector(value, layer)
        else:
            bias = None if value is None else value.astype(np.float64)
    if bias is None:
        return None
    return Affine(blocks, (bias * beta(node)).reshape(blocks.shape[0], -1))


def alpha(node: NodeProto) -> float:
    """By what Gemm multiplies its product."""
    return _attribute(node, "alpha") if node.op_type == "Gemm" else 1.0


def beta(node: NodeProto) -> float:
    """By what Gemm multiplies its bias."""
    return _attribute(node, "beta") if node.op_type == "Gemm" else 1.0


def _attribute(node: NodeProto, name: str) -> float:
    return next((float(a.f) for a in node.attribute if a.name == name), 1.0)


def has_bias(node: NodeProto) -> bool:
    """Whether a Conv, ConvTranspose or Gemm adds its third input."""
    return len(node.input) > 2 and node.input[2] != "" and beta(node) != 0


def scaled(fit: Affine, scale: FloatArray) -> Affine:
    """The map followed by a factor for each output.

    Args:
        fit: weight (g, d, o), bias (g, o).
        scale: (g x o,).
    """
    factor = scale.reshape(fit.bias.shape)
    return Affine(fit.weight * factor[:, None, :], fit.bias * factor)


def unscaled(fit: Affine, scale: FloatArray, otherwise: Affine) -> Affine:
    """The inverse of `scaled`; outputs with factor 0 stay as they are `otherwise`."""
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
