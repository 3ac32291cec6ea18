"""Write a re-fitted layer: its weights, and its bias wherever there is room for one."""

from __future__ import annotations

import numpy as np
from onnx import helper

from onnxslim_snacs.layers.layers import Layer, weight_from_blocks
from onnxslim_snacs.layers.moments import FloatArray
from onnxslim_snacs.layers.tail import Tail
from onnxslim_snacs.layers.typed import real_constant, typed
from onnxslim_snacs.layers.walk import Walk
from onnxslim_snacs.model.edit import add_initializer, get_value, set_input, set_value
from onnxslim_snacs.model.graph import ModelGraph
from onnxslim_snacs.recovery.affine import alpha, beta, bias_of, has_bias, is_retyped, retyped
from onnxslim_snacs.recovery.gates import GateTask
from onnxslim_snacs.recovery.solve import Affine

#: In the names of constants that recovery adds.
SUFFIX = "recovered"


def write_affine(
    walk: Walk, cut: ModelGraph, layer: Layer, tail: Tail, now: Affine, then: Affine
) -> None:
    """Give a layer other weights and another bias.

    Args:
        walk: the run whose model is written; the layer has not run yet.
        cut: the cut model as it was before any correction.
        layer: the layer.
        tail: what follows it.
        now: what it computes now.
        then: what it should compute.
    """
    node = walk.node(layer.out)
    written: set[str] = set()
    if is_retyped(cut, layer):
        for name, value in retyped(cut, layer, then).items():
            set_value(walk.model, name, value)
            written.add(name)
    elif not np.array_equal(now.weight, then.weight):
        old = get_value(walk.model, layer.weight, walk.base_dir)
        value = weight_from_blocks(layer, then.weight / alpha(layer, node), old)
        set_value(walk.model, layer.weight, value)
    change = (then.bias - now.bias).reshape(-1)
    lies = typed(cut, bias_of(layer, node)) if has_bias(layer, node) else None
    if np.any(change != 0) and not (lies is not None and lies.name in written):
        _add_bias(walk, cut, layer, tail, then.bias.reshape(-1), change)


def write_gate(walk: Walk, cut: ModelGraph, task: GateTask, then: Affine) -> None:
    """Give one product of a recurrent node other weights, and add to its half of the bias.

    Args:
        walk: the run whose model is written; the node has not run yet.
        cut: the cut model as it was before any correction.
        task: the product.
        then: what it should compute beyond the bias that it has.
    """
    node = walk.node(task.out)
    weight = get_value(walk.model, task.weight, walk.base_dir)
    set_value(walk.model, task.weight, then.weight.transpose(0, 2, 1).astype(weight.dtype))
    bias = get_value(walk.model, node.input[3], walk.base_dir).astype(np.float64)
    half = bias.shape[1] // 2
    start = (task.factor - 1) * half  # Wb comes first, then Rb
    bias[:, start : start + half] += then.bias
    alone = _is_alone(cut, node.input[3])
    set_input(walk.model, node, 3, bias.astype(weight.dtype), alone=alone, suffix=SUFFIX)


def _add_bias(
    walk: Walk, cut: ModelGraph, layer: Layer, tail: Tail, whole: FloatArray, change: FloatArray
) -> None:
    node = walk.node(layer.out)
    weight = real_constant(cut, layer.weight)
    assert weight is not None
    dtype = weight.dtype
    place = layer.trained.bias
    if place is not None and has_bias(layer, node):
        value = (whole / beta(layer, node)).astype(dtype)
        alone = _is_alone(cut, bias_of(layer, node))
        set_input(walk.model, node, place, value, alone=alone, suffix=SUFFIX)
    elif tail.bias is not None:
        _add_behind(walk, cut, layer, tail, change)
    elif place is not None:
        if beta(layer, node) == 0:
            kept = [a for a in node.attribute if a.name != layer.trained.bias_gain]
            del node.attribute[:]
            node.attribute.extend(kept)
        set_input(walk.model, node, place, whole.astype(dtype), alone=False, suffix=SUFFIX)
    else:
        inner, name = f"{layer.out}_product", f"{layer.out}_bias"
        add_initializer(walk.model, name, _along(layer, change).astype(dtype))
        node.output[0] = inner
        add = helper.make_node("Add", [inner, name], [layer.out])
        walk.insert(add, walk.producer[layer.out] + 1)


def _add_behind(walk: Walk, cut: ModelGraph, layer: Layer, tail: Tail, change: FloatArray) -> None:
    """Put the bias into the constant of the operator behind the layer."""
    assert tail.bias is not None
    reader = walk.node(tail.bias.reader)
    name = reader.input[tail.bias.input]
    old = get_value(walk.model, name, walk.base_dir)
    vector = change if reader.op_type == "BatchNormalization" else _along(layer, change)
    value = (old.astype(np.float64) + tail.bias.sign * vector).astype(old.dtype)
    set_input(walk.model, reader, tail.bias.input, value, alone=_is_alone(cut, name), suffix=SUFFIX)


def _along(layer: Layer, vector: FloatArray) -> FloatArray:
    """(outputs, 1, ...) so that it is spread along the other axes of the layer's output."""
    return vector.reshape(-1, *(1,) * (layer.rank - 1 - layer.out_dim))


def _is_alone(cut: ModelGraph, name: str) -> bool:
    """Whether a constant has a single reader."""
    return len(cut.consumers.get(name, ())) + list(cut.outputs).count(name) == 1
