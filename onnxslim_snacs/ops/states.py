"""States that go in and out of a model keep their extent when hidden units go."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, helper

from onnxslim_snacs.ir.types import IntArray
from onnxslim_snacs.model.graph import ModelGraph
from onnxslim_snacs.ops.node import OpNode, ReplaceNode

#: Operators that only move what they are given, with the inputs that hold it (None: all).
_MOVES: dict[str, tuple[int, ...] | None] = {
    **dict.fromkeys(("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Identity"), (0,)),
    **dict.fromkeys(("Slice", "Split", "Gather", "Expand", "Cast"), (0,)),
    **dict.fromkeys(("ScatterND", "ScatterElements"), (0, 2)),
    "Concat": None,
}


def _moved(node: NodeProto) -> Sequence[str]:
    """The inputs whose contents the node moves; none if it computes."""
    if node.op_type not in _MOVES:
        return ()
    positions = _MOVES[node.op_type]
    inputs = list(node.input)
    return inputs if positions is None else [inputs[k] for k in positions if k < len(inputs)]


def fed(node: OpNode, tensor: str) -> bool:
    """Whether a tensor is made by moving of nothing but states of full extent and constants.

    Those are graph inputs, and the last states of other nodes that are given back.
    """
    graph, found = node.facts.graph, False
    pending, seen = [tensor], {tensor}
    while pending:
        name = pending.pop()
        if name in graph.inputs or _last_state(node, name):
            found = True
        elif not node.facts.follows_from_shapes(name):
            sources = _moved(graph.nodes[graph.producer[name]]) if name in graph.producer else ()
            if not sources:
                return False
            pending.extend(s for s in sources if s not in seen)
            seen.update(sources)
    return found


def _last_state(node: OpNode, tensor: str) -> bool:
    """Whether a tensor is the last state of a recurrent node that is given back."""
    graph = node.facts.graph
    maker = graph.nodes[graph.producer[tensor]] if tensor in graph.producer else None
    if maker is None or maker.op_type not in ("LSTM", "GRU", "RNN") or maker.output[0] == tensor:
        return False
    return given_back(node, tensor)


def given_back(node: OpNode, tensor: str) -> bool:
    """Whether a tensor reaches a graph output by nothing but moving."""
    graph = node.facts.graph
    pending, seen = [tensor], {tensor}
    while pending:
        name = pending.pop()
        if name in graph.outputs:
            return True
        fresh = [target for target in _targets(graph, name) if target not in seen]
        seen.update(fresh)
        pending.extend(fresh)
    return False


def _targets(graph: ModelGraph, name: str) -> Iterator[str]:
    for reader in graph.consumers.get(name, ()):
        if name in _moved(graph.nodes[reader]):
            yield from (output for output in graph.nodes[reader].output if output)


def with_states(
    node: OpNode,
    index: IntArray,
    hidden: int,
    shared: Mapping[int, NDArray[Any]],
    picked: Sequence[int],
    filled: Sequence[int],
) -> ReplaceNode:
    """A recurrent node with fewer units between states of the old extent.

    Args:
        node: the node; its weights are cut elsewhere.
        index: the kept units.
        hidden: how many there were.
        shared: inputs that become constants, by position.
        picked: inputs with first states of which the kept units are picked.
        filled: outputs with last states that get zeros for the units that went.
    """
    stem = f"{next(name for name in node.outputs if name)}_cut"
    core = NodeProto()
    core.CopyFrom(node.proto)
    constants: dict[str, NDArray[Any]] = {}
    for attribute in core.attribute:
        if attribute.name == "hidden_size":
            attribute.i = len(index)
    for position, value in shared.items():
        core.input[position] = f"{stem}_{position}"
        constants[core.input[position]] = value
    before, after = [], []
    for position in picked:
        core.input[position] = f"{stem}_{position}_picked"
        constants[f"{stem}_units"] = index
        inputs = [node.inputs[position], f"{stem}_units"]
        before.append(helper.make_node("Gather", inputs, [core.input[position]], axis=2))
    if filled:  # every unit that went reads the zero that is put behind the kept ones
        places = np.full(hidden, len(index), dtype=np.int64)
        places[index] = np.arange(len(index))
        constants[f"{stem}_places"] = places
    for position in filled:
        core.output[position] = f"{stem}_{position}_left"
        padded = f"{stem}_{position}_padded"
        after.append(_pad_one(node, core.output[position], padded, stem, constants))
        inputs = [padded, f"{stem}_places"]
        after.append(helper.make_node("Gather", inputs, [node.outputs[position]], axis=2))
    return ReplaceNode((*before, core, *after), constants)


def _pad_one(
    node: OpNode, source: str, target: str, stem: str, constants: dict[str, NDArray[Any]]
) -> NodeProto:
    """A zero behind the last slot of the last of three axes."""
    pads = [0, 0, 0, 0, 0, 1]
    if node.opset < 11:
        return helper.make_node("Pad", [source], [target], pads=pads)
    constants[f"{stem}_pads"] = np.array(pads, dtype=np.int64)
    return helper.make_node("Pad", [source, f"{stem}_pads"], [target])
