"""Every weight of a cut model is the kept part of the original's, bit for bit.

What the runs of a proof show depends on the numbers that they are given: behind a Relu that lets
nothing through, a wrong weight computes nothing wrong.  But a cut moves weights and changes none.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto

from onnxslim_snacs.errors import foreign
from onnxslim_snacs.ir.keep import KeepMap
from onnxslim_snacs.model.body import find_body
from onnxslim_snacs.model.graph import node_constant
from onnxslim_snacs.model.mapped import tensor_array
from onnxslim_snacs.ops.analyse import Analysis

#: Indices, extents and bounds, which a cut writes anew, and text.
_OPERANDS = frozenset(map(np.dtype, (np.int64, np.int32, np.bool_, np.object_)))
#: Recurrent operators, and where they read first states: one for all units, as many as are left.
_RECURRENT, _STATES = ("LSTM", "GRU", "RNN"), slice(5, 7)


def altered_weight(
    analysis: Analysis, keep: KeepMap, pruned: ModelProto, base_dir: Path | None
) -> str:
    """What is wrong with the first weight that is not the kept part of the original's.

    Args:
        analysis: the original.
        keep: what the plan keeps.
        pruned: the cut model.
        base_dir: folder of its external data.

    Returns:
        One sentence; "" if every weight is right.
    """
    return next(_altered(analysis, keep, pruned.graph, base_dir), "")


def _altered(
    analysis: Analysis, keep: KeepMap, graph: GraphProto, base_dir: Path | None
) -> Iterator[str]:
    states = {n for v in analysis.nodes if v.op in _RECURRENT for n in v.inputs[_STATES]}
    for name, value in _weights(graph, base_dir):
        original = None if name in states else _original(analysis, name)
        if original is None or value.dtype in _OPERANDS:
            continue
        kept = keep.cut(name, original)
        if kept.shape != value.shape or kept.dtype != value.dtype:
            yield (
                f"weight {foreign(name)} is {value.dtype} {value.shape}, expected {kept.dtype} "
                f"{kept.shape}"
            )
        elif kept.tobytes() != value.tobytes():
            yield f"weight {foreign(name)} is not the kept part of the original's"
    for body in analysis.bodies:
        cut = find_body(graph, analysis.graph.nodes[body.position], body.attribute)
        if cut is not None:
            yield from _altered(body.analysis, keep, cut, base_dir)


def _weights(graph: GraphProto, base_dir: Path | None) -> Iterator[tuple[str, NDArray[Any]]]:
    """The weights of a graph with their names, those in Constant nodes included."""
    for tensor in graph.initializer:
        yield tensor.name, tensor_array(tensor, base_dir)
    for node in graph.node:
        value = node_constant(node) if node.op_type == "Constant" else None
        if value is not None:
            yield node.output[0], value


def _original(analysis: Analysis, name: str) -> NDArray[Any] | None:
    graph = analysis.graph
    if name in graph.initializers:
        return graph.array(name)
    maker = graph.producer.get(name)
    if maker is None or graph.nodes[maker].op_type != "Constant":
        return None
    value = node_constant(graph.nodes[maker])
    return None if value is None else np.asarray(value)
