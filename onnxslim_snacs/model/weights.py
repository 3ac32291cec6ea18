"""Weights that no network can have, and tensors that no memory can hold."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from onnx import ModelProto, NodeProto, TensorProto

from onnxslim_snacs.errors import InputRefused, LimitExceeded, foreign
from onnxslim_snacs.model.bounds import Limits
from onnxslim_snacs.model.mapped import tensor_array
from onnxslim_snacs.model.stored import stored_tensors
from onnxslim_snacs.model.tensors import check_tensor, element_count
from onnxslim_snacs.model.wiring import describe


def check_tensors(model: ModelProto, base_dir: Path, *, allow_nonfinite: bool) -> frozenset[str]:
    """Check every stored tensor of a model.

    Infinity is a fault in trained numbers alone, and which those are the operators' rules say:
    elsewhere it is common (attention masks, the bounds of Clip, the value of Pad).

    Args:
        model: the model.
        base_dir: its folder.
        allow_nonfinite: let NaN and infinite weights pass.

    Returns:
        The tensors that hold infinite values, if those are not allowed.

    Raises:
        InputRefused: a tensor's data do not fit its type and dimensions, or hold NaN.
    """
    infinite = set()
    for node, tensor in stored_tensors(model):
        found = check_tensor(tensor, base_dir)
        if not (found.nan or found.inf):
            continue
        name = next(iter(node.output), "") if node is not None else tensor.name
        if found.nan and not allow_nonfinite:
            raise InputRefused(not_finite(name, "NaN"))
        if found.inf and not allow_nonfinite:
            infinite.add(name)
    return frozenset(infinite)


def not_finite(name: str, what: str) -> str:
    """What to say of a tensor that holds them."""
    return (
        f"tensor {foreign(name)} holds {what}: the training has diverged or the file is damaged; "
        "go back to a checkpoint from before, or fetch the file again"
    )


def check_shapes(model: ModelProto, base_dir: Path, limits: Limits) -> None:
    """Check weights against the nodes that use them, and what the graph would allocate.

    Raises:
        InputRefused: a weight without channels, or with a number of them that its node cannot use.
        LimitExceeded: a tensor of fixed size is larger than any that is worked on.
    """
    for value in model.graph.input:
        dims = [d.dim_value for d in value.type.tensor_type.shape.dim]
        _within(f"input {foreign(value.name)}", [d for d in dims if d > 0], limits)
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant":
            stored.update((node.output[0], a.t) for a in node.attribute if a.name == "value")
        elif node.op_type in ("Conv", "ConvTranspose") and len(node.input) > 1:
            _check_filters(node, stored)
        elif node.op_type in ("ConstantOfShape", "Expand") and node.input[-1] in stored:
            _check_allocation(node, stored[node.input[-1]], base_dir, limits)


def _check_filters(node: NodeProto, stored: Mapping[str, TensorProto]) -> None:
    """Filters (out, in/group, ...) of Conv or (in, out/group, ...) of ConvTranspose."""
    weight = stored.get(node.input[1])
    if weight is None:
        return
    dims = tuple(weight.dims)
    group = next((a.i for a in node.attribute if a.name == "group"), 1)
    if len(dims) < 3 or 0 in dims:
        raise InputRefused(
            f"{describe(node)}: weight {foreign(weight.name)} has shape {dims}, expected "
            "(channels, channels, kernel ...) and none of them 0"
        )
    if group < 1 or dims[0] % group:
        raise InputRefused(
            f"{describe(node)}: {dims[0]} channels cannot be shared out to group = {group}"
        )
    bias = stored.get(node.input[2]) if len(node.input) > 2 else None
    outputs = dims[0] if node.op_type == "Conv" else dims[1] * group
    if bias is not None and tuple(bias.dims) != (outputs,):
        raise InputRefused(
            f"{describe(node)}: bias {foreign(bias.name)} has shape {tuple(bias.dims)}, expected "
            f"({outputs},)"
        )


def _check_allocation(node: NodeProto, shape: TensorProto, base_dir: Path, limits: Limits) -> None:
    if shape.data_type != TensorProto.INT64 or element_count(shape) > 64:
        return
    if len(shape.dims) != 1:
        raise InputRefused(
            f"{describe(node)}: the shape that it makes is given as an array of shape "
            f"{tuple(shape.dims)}, expected a list of numbers"
        )
    dims = [int(d) for d in tensor_array(shape, base_dir)]
    _within(f"the result of {describe(node)}", [d for d in dims if d > 0], limits)


def _within(what: str, dims: list[int], limits: Limits) -> None:
    if math.prod(dims) > limits.elements:
        raise LimitExceeded(
            f"{what} has the fixed shape {foreign(dims)}: more than {limits.elements:,} elements"
        )
