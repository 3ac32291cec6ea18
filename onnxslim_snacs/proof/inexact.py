"""Which nodes compute something else for what is left, and what a proof is held against."""

from __future__ import annotations

from onnxslim_snacs.errors import foreign
from onnxslim_snacs.ir.keep import KeepMap
from onnxslim_snacs.ir.types import Axis, InexactNode, Sink, is_virtual
from onnxslim_snacs.ops.analyse import Analysis

CONSUMER_ZERO = "consumer-zero"
GATHER = "consumer-zero + gather"
RANGE = "consumer-zero + range of what is left"


def oracle_name(analysis: Analysis, keep: KeepMap) -> str:
    """Which oracle a cut needs."""
    parts = tuple(analysis.parts())
    if any(keep.index(fact.axis) is not None for p in parts for _, fact in p.ir.inexact):
        return GATHER
    return RANGE if any(ranged(part, keep) for part in parts) else CONSUMER_ZERO


def ranged(part: Analysis, keep: KeepMap) -> list[tuple[int, Sink]]:
    """Sinks that also take their range from an axis that loses slots, and the nodes' positions."""
    sinks = part.ir.sinks
    return [(p, sink) for p, sink in sinks if sink.ranged and keep.index(sink.axis) is not None]


def inexact_nodes(analysis: Analysis, keep: KeepMap) -> tuple[InexactNode, ...]:
    """The nodes that compute something else for what is left: those whose statistics lose slots."""
    found: dict[InexactNode, None] = {}
    for part in analysis.parts():
        for position, fact in part.ir.inexact:
            if keep.index(fact.axis) is None:
                continue
            node, axis = part.nodes[position], fact.axis
            if is_virtual(axis):
                operand, dim = fact.inputs[0]
                axis = Axis(node.inputs[operand], dim)
            found[InexactNode(foreign(node.name), node.op, str(axis), fact.reason)] = None
        for position, sink in ranged(part, keep):
            node = part.nodes[position]
            found[InexactNode(foreign(node.name), node.op, str(sink.axis), sink.ranged)] = None
    return tuple(found)
