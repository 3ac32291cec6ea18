"""Remove what a cut has left without a reader, and store once what is equal again."""

from __future__ import annotations

from collections import Counter
from typing import Any

from onnx import ModelProto, NodeProto

from onnxslim_snacs.model.fold import unfold
from onnxslim_snacs.model.graph import captured
from onnxslim_snacs.model.share import rejoin
from onnxslim_snacs.passes.draft import Draft


def remove_dead(draft: Draft) -> None:
    """Remove what nobody reads any more."""
    remove_dead_nodes(draft.model, draft.suspects)


def rejoin_copies(draft: Draft) -> None:
    """Let readers share a vector again where their copies are equal."""
    rejoin(draft.model, draft.analysis.copies)


def unfold_weights(draft: Draft) -> None:
    """Let the nodes compute again what the cut has not reached."""
    keep = draft.keep
    unfold(draft.model, [f for f in draft.analysis.folds if not keep.touches((f.name, *f.source))])


def remove_dead_nodes(model: ModelProto, suspects: set[str]) -> None:
    """Remove nodes and initializers that nobody reads any more, beginning with `suspects`.

    What was dead before the cut stays: the file's author may have had his reasons.

    Args:
        model: the model that is being written; changed in place, for it is ours.
        suspects: tensors that have lost a reader.
    """
    graph = model.graph
    readers = Counter(name for node in graph.node for name in _reads(node))
    readers.update(output.name for output in graph.output)
    maker = {name: k for k, node in enumerate(graph.node) for name in node.output if name}
    pending, dead_nodes, dead = sorted(suspects), set[int](), set[str]()
    while pending:
        name = pending.pop()
        if readers[name] or name in dead:
            continue
        dead.add(name)
        position = maker.get(name)
        if position is None or position in dead_nodes:  # dead by another of its outputs
            continue
        if any(readers[o] for o in graph.node[position].output):
            continue
        dead_nodes.add(position)
        for source in _reads(graph.node[position]):
            readers[source] -= 1
            pending.append(source)
    constants = {tensor.name for tensor in graph.initializer}
    _drop(graph.node, dead_nodes)
    _drop(graph.input, {k for k, v in enumerate(graph.input) if v.name in dead & constants})
    for field in (graph.initializer, graph.value_info):
        _drop(field, {k for k, item in enumerate(field) if item.name in dead})


def _reads(node: NodeProto) -> set[str]:
    return {name for name in (*node.input, *captured(node)) if name}


def _drop(field: Any, positions: set[int]) -> None:
    for position in sorted(positions, reverse=True):
        del field[position]
