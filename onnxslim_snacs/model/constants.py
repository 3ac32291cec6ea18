"""Which tensors follow from constants, or from constants and shapes."""

from __future__ import annotations

from onnx import NodeProto

from onnxslim_snacs.model.graph import ModelGraph, captured, subgraphs
from onnxslim_snacs.model.tensors import element_count

#: Elements beyond which a value is not worth a run's memory.
MOST = 1 << 20


def constant_tensors(
    graph: ModelGraph, more: frozenset[str] = frozenset(), stored: frozenset[str] = frozenset()
) -> tuple[frozenset[str], frozenset[str]]:
    """Tensors that follow from shapes and constants, and those that follow from constants alone.

    Args:
        graph: the model.
        more: inputs that follow from constants and shapes.
        stored: inputs that follow from constants.
    """
    by_shape = set(graph.initializers).union(more)
    weights = set(graph.initializers).union(stored)
    for node in graph.nodes:
        inputs = [name for name in (*node.input, *captured(node)) if name]
        if any(subgraphs(node)):
            # of control flow, a choice is what it chooses from
            if node.op_type == "If" and not _draws(node) and by_shape.issuperset(inputs):
                by_shape.update(node.output)
            continue
        if _draws(node) or (not inputs and node.op_type != "Constant"):
            continue
        if node.op_type in ("Shape", "Size") or all(name in by_shape for name in inputs):
            by_shape.update(node.output)
        if all(name in weights for name in inputs):
            weights.update(node.output)
    return frozenset(by_shape), frozenset(weights)


def _draws(node: NodeProto) -> bool:
    """Whether a node, or one in its bodies, gives something else each time."""
    if node.op_type.startswith("Random") or node.op_type in ("Bernoulli", "Multinomial"):
        return True
    return any(_draws(inner) for body in subgraphs(node) for inner in body.node)


def heavy_tensors(graph: ModelGraph, weights: frozenset[str]) -> frozenset[str]:
    """Tensors that follow from large weights alone: their values are not worth a run's memory."""
    heavy = {name for name, t in graph.initializers.items() if element_count(t) > MOST}
    for node in graph.nodes:
        stored = next((a.t for a in node.attribute if a.name == "value"), None)
        if any(n in heavy for n in node.input) or (
            node.op_type == "Constant" and stored is not None and element_count(stored) > MOST
        ):
            heavy.update(name for name in node.output if name in weights)
    return frozenset(heavy)
