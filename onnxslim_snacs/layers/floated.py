"""Integer products as the float layers for which they stand, so that they can be re-fitted.

QLinearConv is DequantizeLinear, Conv, QuantizeLinear; ConvInteger between DynamicQuantizeLinear and
its scales is Conv of what the quantiser was given.  The stored tensors are the same in both forms:
a cut is recovered in the float form, and what has changed is written into the integer one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, helper, numpy_helper

from onnxslim_snacs.model.edit import add_initializer, get_value, put_nodes, set_value
from onnxslim_snacs.model.graph import ModelGraph, stored

_CONV, _MATMUL, _GEMM = "QLinearConv", "QLinearMatMul", "com.microsoft::QGemm"
_INTEGER = {"ConvInteger": "Conv", "MatMulInteger": "MatMul"}
#: Since this version DequantizeLinear has an axis.
_AXIS = 13


@dataclass(slots=True)
class _Floating:
    """A model on its way to the float form.

    Attributes:
        graph: the model as it was.
        instead: position of a node -> the nodes in its place.
        added: initializers of the float form alone.
        biases: bias that a node has in the float form alone -> (an output of it, position).
        copies: scale in the float form -> the scale of the integer form that it is.
        unbiased: outputs of products to which the integer form cannot add anything.
    """

    graph: ModelGraph
    instead: dict[int, list[NodeProto]] = field(default_factory=dict)
    added: dict[str, NDArray[Any]] = field(default_factory=dict)
    biases: dict[str, tuple[str, int]] = field(default_factory=dict)
    copies: dict[str, str] = field(default_factory=dict)
    unbiased: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Floated:
    """A model in the float form.

    Attributes:
        model: the model.
        added: initializers that the integer form does not have.
        biases: those of them that are biases -> (an output of the node, position of the input).
        copies: those of them that are scales -> the same scale in the integer form.
        unbiased: outputs of products to which the integer form cannot add anything.
    """

    model: ModelProto
    added: frozenset[str]
    biases: dict[str, tuple[str, int]]
    copies: dict[str, str]
    unbiased: frozenset[str]


def floated(graph: ModelGraph) -> Floated | None:
    """The float form of a model; None if it has no integer product that can be written so."""
    work = _Floating(graph)
    for position, node in enumerate(graph.nodes):
        kind = f"{node.domain}::{node.op_type}" if node.domain else node.op_type
        if kind in (_CONV, _MATMUL, _GEMM):
            _static(work, position, node, kind)
        elif kind in _INTEGER:
            _dynamic(work, position, node)
    if not work.instead:
        return None
    model = ModelProto()
    model.CopyFrom(graph.proto)
    put_nodes(model.graph, instead=work.instead)
    for name, value in work.added.items():
        add_initializer(model, name, value)
    unbiased = frozenset(work.unbiased)
    return Floated(model, frozenset(work.added), work.biases, work.copies, unbiased)


def back(integer: ModelProto, recovered: ModelProto, form: Floated) -> ModelProto:
    """The integer form of a recovered float one.

    Args:
        integer: the model before it was recovered.
        recovered: its float form afterwards.
        form: the float form before.
    """
    model = ModelProto()
    model.CopyFrom(integer)
    new = {tensor.name: tensor for tensor in recovered.graph.initializer}
    for tensor in model.graph.initializer:
        if tensor.name in new and tensor.name not in form.added:
            tensor.CopyFrom(new[tensor.name])
    for name, original in form.copies.items():
        value = numpy_helper.to_array(new[name])
        shape = get_value(model, original).shape
        set_value(model, original, value.reshape(shape))
    makers = {name: node for node in model.graph.node for name in node.output if name}
    for name, (output, place) in form.biases.items():
        if name in new and any(new[name].int32_data or new[name].raw_data.strip(b"\0")):
            node = makers[output]
            node.input.extend([""] * (place + 1 - len(node.input)))
            node.input[place] = name
            model.graph.initializer.append(new[name])
    return model


def _value(work: _Floating, name: str) -> NDArray[Any] | None:
    return stored(work.graph, name) if name else None


def _inputs(node: NodeProto, count: int) -> list[str]:
    return [*node.input, *[""] * count][:count]


def _attributes(node: NodeProto, names: tuple[str, ...]) -> dict[str, Any]:
    return {a.name: helper.get_attribute_value(a) for a in node.attribute if a.name in names}


_WINDOW = ("auto_pad", "dilations", "group", "kernel_shape", "pads", "strides")


def _real(
    work: _Floating, tensor: str, scale: str, point: str, target: str, axis: int | None
) -> NodeProto | None:
    """DequantizeLinear; None where that cannot say it."""
    factor, zero = _value(work, scale), _value(work, point)
    if factor is not None and factor.size > 1:
        if axis is None or work.graph.opsets.get("", 1) < _AXIS or factor.ndim != 1:
            return None
        if zero is not None and zero.shape != factor.shape:
            return None
    inputs = [tensor, scale, *([point] if point else [])]
    node = helper.make_node("DequantizeLinear", inputs, [target])
    if axis is not None and factor is not None and factor.size > 1:
        node.attribute.append(helper.make_attribute("axis", axis))
    return node


def _static(work: _Floating, position: int, node: NodeProto, kind: str) -> None:
    """QLinearConv, QLinearMatMul, QGemm."""
    names = _inputs(node, 9)
    x, xs, xz, w, ws, wz = names[:6]
    bias, ys, yz = {
        _CONV: (names[8], names[6], names[7]),
        _MATMUL: ("", names[6], names[7]),
        _GEMM: (names[6], names[7], names[8]),
    }[kind]
    weight, out = _value(work, w), node.output[0]
    of_data, of_weight = _value(work, xs), _value(work, ws)
    if weight is None or of_data is None or of_weight is None or of_data.size != 1:
        return
    attributes = _attributes(node, (*_WINDOW, "alpha", "transA", "transB"))
    made = {_CONV: 0, _MATMUL: weight.ndim - 1}.get(kind, 0 if attributes.get("transB") else 1)
    stem = f"{out}\0"
    nodes = [
        _real(work, x, xs, xz, f"{stem}data", None),
        _real(work, w, ws, wz, f"{stem}weight", made),
    ]
    inputs = [f"{stem}data", f"{stem}weight"]
    if kind != _MATMUL:
        factor = np.float32(attributes.get("alpha", 1.0)) * of_data.reshape(()) * of_weight
        bias = bias or _no_bias(work, out, weight.shape[made], 8 if kind == _CONV else 6)
        work.added[f"{stem}bias scale"] = factor
        spread = helper.make_node(
            "DequantizeLinear", [bias, f"{stem}bias scale"], [f"{stem}bias"], axis=0
        )
        if factor.size == 1:
            work.added[f"{stem}bias scale"] = factor.reshape(())
            del spread.attribute[:]
        nodes.append(spread)
        inputs.append(f"{stem}bias")
    if any(one is None for one in nodes):
        return
    op = {_CONV: "Conv", _MATMUL: "MatMul", _GEMM: "Gemm"}[kind]
    inner = f"{stem}sum" if ys else out
    nodes.append(helper.make_node(op, inputs, [inner], name=node.name or out, **attributes))
    if kind == _MATMUL:
        work.unbiased.add(inner)
    if ys:
        quantise = [inner, ys, *([yz] if yz else [])]
        nodes.append(helper.make_node("QuantizeLinear", quantise, [out]))
    work.instead[position] = [one for one in nodes if one is not None]


def _no_bias(work: _Floating, out: str, outputs: int, place: int) -> str:
    name = f"{out}_recovered_{place}"
    work.added[name] = np.zeros(outputs, dtype=np.int32)
    work.biases[name] = (out, place)
    return name


def _dynamic(work: _Floating, position: int, node: NodeProto) -> None:
    """ConvInteger and MatMulInteger: quantised before them, scaled behind them."""
    graph = work.graph
    x, w, _, wz = _inputs(node, 4)
    maker = graph.nodes[graph.producer[x]] if x in graph.producer else None
    weight = _value(work, w)
    if weight is None or maker is None or maker.op_type != "DynamicQuantizeLinear":
        return
    ends = list(_behind(work, node.output[0], maker.output[1]))
    if len(ends) != 1:
        return
    (cast, last, scale), convolution = ends[0], node.op_type == "ConvInteger"
    made = 0 if convolution else weight.ndim - 1
    stem = f"{graph.nodes[last].output[0]}\0"
    factor = _value(work, scale)
    name = scale
    if factor is not None and len(graph.consumers[scale]) == 1 and scale in graph.initializers:
        name = f"{stem}scale"
        work.added[name] = factor if factor.size == 1 else factor.reshape(-1)
        work.copies[name] = scale
    if factor is not None and factor.size > 1:
        zero = _value(work, wz)
        if zero is None or zero.size != factor.size:
            work.added[f"{stem}point"] = np.full(
                factor.size, 0 if zero is None else zero.reshape(-1)[0], dtype=weight.dtype
            )
            wz = f"{stem}point"
        if work.graph.opsets.get("", 1) < _AXIS:
            return
    real = helper.make_node("DequantizeLinear", [w, name, *([wz] if wz else [])], [f"{stem}weight"])
    if factor is not None and factor.size > 1:
        real.attribute.append(helper.make_attribute("axis", made))
    product = helper.make_node(
        _INTEGER[node.op_type],
        [maker.input[0], f"{stem}weight"],
        [graph.nodes[last].output[0]],
        name=node.name,
        **_attributes(node, _WINDOW),
    )
    work.unbiased.add(product.output[0])
    work.instead.update({position: [], cast: [], last: [real, product]})


def _behind(work: _Floating, tensor: str, data_scale: str) -> Iterator[tuple[int, int, str]]:
    """(Cast, product with the scales, scale of the weight) behind an integer sum."""
    graph = work.graph
    for cast in graph.consumers.get(tensor, ()):
        if graph.nodes[cast].op_type != "Cast":
            continue
        number = graph.nodes[cast].output[0]
        for last in graph.consumers.get(number, ()):
            others = [name for name in graph.nodes[last].input if name != number]
            scales = (
                graph.nodes[graph.producer[others[0]]]
                if others and (others[0] in graph.producer)
                else None
            )
            if graph.nodes[last].op_type != "Mul" or scales is None or scales.op_type != "Mul":
                continue
            weights = [name for name in scales.input if name != data_scale]
            if len(weights) == 1 and _value(work, weights[0]) is not None:
                yield cast, last, weights[0]
