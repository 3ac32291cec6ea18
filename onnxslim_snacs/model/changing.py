"""What changes with the input although no two runs differ in it.

Two kinds of such extents and numbers.  Those that follow from an extent of an input that could not
be varied: nothing tells them from constants but a proof, which static shape inference has for most
(weights spell them out).  And numbers that are clipped, rounded or compared on their way: ceil(n /
16) is 1 in all runs, and not a constant.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, helper

from onnxslim_snacs.model.evaluate import evaluate
from onnxslim_snacs.model.graph import ModelGraph
from onnxslim_snacs.model.settle import Settled
from onnxslim_snacs.model.shell import shell
from onnxslim_snacs.model.trial import Trial

#: Weights up to which static inference is told their values: they may be shapes.
_SMALL = 4096

_MOVES = frozenset(
    (  # noqa: SIM905
        "Gather Slice Concat Unsqueeze Squeeze Reshape Identity Transpose Expand Flatten"
    ).split()
)
#: What a number is afterwards differs wherever it has differed before.
_EXACT = frozenset(("Add", "Sub", "Mul", "Neg"))
_ELEMENTWISE = frozenset(
    (  # noqa: SIM905
        "Abs And Cast Ceil Clip Cos Div Equal Erf Exp Floor Greater GreaterOrEqual Less "
        "LessOrEqual Log Max Min Mod Not Or Pow Reciprocal Relu Round Sigmoid Sign Sin Sqrt "
        "Tanh Where Xor"
    ).split()
)


@dataclass(frozen=True, slots=True)
class Changing:
    """What changes.

    Attributes:
        dims: tensor -> dimensions whose extent changes.
        entries: tensor -> which entries of its value change (of the value's shape).
    """

    dims: Mapping[str, frozenset[int]] = field(default_factory=dict)
    entries: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)


NOTHING_CHANGES = Changing()


def find_changing(graph: ModelGraph, settled: Settled, by_shape: frozenset[str]) -> Changing:
    """Look for what changes although it was the same in all runs.

    Args:
        graph: the model.
        settled: the runs.
        by_shape: tensors that follow from constants and shapes alone.
    """
    if not settled.layout.symbols():
        return NOTHING_CHANGES
    dims = _unproved(graph, settled) if settled.stuck else {}
    entries: dict[str, NDArray[np.bool_]] = {}
    for node in graph.nodes:
        for name, mask in _node(node, settled.trials, graph, dims, entries, by_shape):
            if mask.any():
                entries[name] = mask
    return Changing(dims, entries)


def _node(
    node: NodeProto,
    trials: Sequence[Trial],
    graph: ModelGraph,
    dims: Mapping[str, frozenset[int]],
    entries: Mapping[str, NDArray[np.bool_]],
    by_shape: frozenset[str],
) -> list[tuple[str, NDArray[np.bool_]]]:
    """For each output which entries change although they were the same in all runs."""
    if not node.output or node.output[0] not in by_shape or node.output[0] not in trials[0].values:
        return []
    out = [trial.values.get(node.output[0]) for trial in trials]
    shapes = {None if value is None else value.shape for value in out}
    if None in shapes or len(shapes) > 1:
        return []
    same = _same(out)
    if node.op_type in ("Shape", "Size"):
        return [(node.output[0], _of_shape(node, dims, same))]
    moving = [_moving(name, trials, entries) for name in node.input]
    forced = [entries.get(name) for name in node.input]
    data = len(node.input) if node.op_type == "Concat" else 1
    if node.op_type in _MOVES and not any(m is not None for m in moving[data:]):
        carried = forced if any(f is not None for f in forced) else []
        mask = _carried(node, graph, trials[0], carried, same.shape, data)
    elif node.op_type in _EXACT or (node.op_type == "Div" and _divides(node, trials, graph)):
        mask = _spread(forced, same.shape)
    elif node.op_type in _ELEMENTWISE:
        mask = _spread(moving, same.shape)
    else:
        mask = np.full(same.shape, any(m is not None and m.any() for m in moving))
    return [(node.output[0], mask & same)]


def _same(values: Sequence[NDArray[Any] | None]) -> NDArray[np.bool_]:
    rows = np.stack([np.asarray(value) for value in values])
    same: NDArray[np.bool_] = np.asarray((rows == rows[0]).all(axis=0))
    return same


def _of_shape(
    node: NodeProto, dims: Mapping[str, frozenset[int]], same: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    moving = dims.get(node.input[0], frozenset())
    if node.op_type == "Size":
        return np.full(same.shape, bool(moving))
    start = next((a.i for a in node.attribute if a.name == "start"), 0)
    if start < 0 or not moving:  # counted from the end: whatever it is, it may change
        return np.full(same.shape, bool(moving))
    return np.array([start + k in moving for k in range(len(same))], dtype=bool)


def _moving(
    name: str, trials: Sequence[Trial], entries: Mapping[str, NDArray[np.bool_]]
) -> NDArray[np.bool_] | None:
    """Which entries of a tensor change; None if none does."""
    seen = [trial.values[name] for trial in trials if name in trial.values]
    if len(seen) != len(trials):
        return None
    if len({value.shape for value in seen}) > 1:
        return np.array(True)
    mask = ~_same(seen)
    if name in entries:
        mask = mask | entries[name]
    return mask if mask.any() else None


def _spread(masks: Sequence[NDArray[np.bool_] | None], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    found = np.zeros(shape, dtype=bool)
    for mask in masks:
        if mask is not None:
            found = found | np.broadcast_to(mask, shape)
    return found


def _divides(node: NodeProto, trials: Sequence[Trial], graph: ModelGraph) -> bool:
    """Whether a division left nothing over in any run."""
    for trial in trials:
        a, b = (_value(name, trial, graph) for name in node.input[:2])
        if a is None or b is None or (b == 0).any() or (np.mod(a, b) != 0).any():
            return False
    return True


def _value(name: str, trial: Trial, graph: ModelGraph) -> NDArray[Any] | None:
    if name in graph.initializers:
        return graph.array(name)
    return trial.values.get(name)


def _carried(
    node: NodeProto,
    graph: ModelGraph,
    trial: Trial,
    masks: Sequence[NDArray[np.bool_] | None],
    shape: tuple[int, ...],
    data: int,
) -> NDArray[np.bool_]:
    """Where the entries of a node's first `data` inputs go, which it only moves."""
    if not masks:
        return np.zeros(shape, dtype=bool)
    feeds, copy = {}, NodeProto()
    copy.CopyFrom(node)
    for position, name in enumerate(node.input):
        value, mask = _value(name, trial, graph) if name else None, masks[position]
        if name and value is None:
            return np.ones(shape, dtype=bool)
        if value is None:
            continue
        if position < data:
            whole = np.zeros(value.shape) if mask is None else np.broadcast_to(mask, value.shape)
            value = whole.astype(np.float32)
        copy.input[position] = f"{name}\0{position}"
        feeds[copy.input[position]] = value
    found = evaluate(copy, feeds, graph.opsets).get(copy.output[0])
    if found is None or found.shape != shape:
        return np.ones(shape, dtype=bool)
    return found.astype(bool)


def _unproved(graph: ModelGraph, settled: Settled) -> dict[str, frozenset[int]]:
    """Dimensions whose extent static inference does not prove, with all that is free left open."""
    known = _inferred(graph, settled)
    found = {}
    for name, shape in settled.trials[0].shapes.items():
        proved = known.get(name, ())
        open_dims = (k for k in range(len(shape)) if len(proved) != len(shape) or proved[k] is None)
        found[name] = frozenset(open_dims)
    return {name: dims for name, dims in found.items() if dims}


def _inferred(graph: ModelGraph, settled: Settled) -> dict[str, tuple[int | None, ...]]:
    """Extents that follow from the weights and the fixed extents of the inputs."""
    model = shell(graph.proto, "graph")
    model.graph.CopyFrom(shell(graph.proto.graph, "initializer", "value_info"))
    for name, tensor in graph.initializers.items():
        if np.prod(tensor.dims) <= _SMALL:
            model.graph.initializer.append(tensor)
        else:
            info = helper.make_tensor_value_info(name, tensor.data_type, tensor.dims)
            model.graph.input.append(info)
    for info in model.graph.input:
        for dim, extent in zip(
            info.type.tensor_type.shape.dim, settled.layout.axes.get(info.name, ()), strict=False
        ):
            dim.Clear()
            if extent.terms:
                dim.dim_param = str(extent)
            else:
                dim.dim_value = extent.constant
    for info in model.graph.output:
        info.type.tensor_type.ClearField("shape")
    found = _infer(model)
    return {name: shape for name, shape in found.items() if name not in graph.initializers}


def _infer(model: ModelProto) -> dict[str, tuple[int | None, ...]]:
    try:
        graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    except MemoryError:
        raise
    except Exception:  # inference is best effort: what is not inferred is not proved
        return {}
    return {
        v.name: tuple(
            d.dim_value if d.HasField("dim_value") else None for d in v.type.tensor_type.shape.dim
        )
        for v in (*graph.value_info, *graph.input, *graph.output)
        if v.type.tensor_type.HasField("shape")
    }
