"""Which nodes compute something else for what is left, and what a proof is held against."""

from __future__ import annotations

from onnxslim_snacs.errors import foreign
from onnxslim_snacs.ir.keep import KeepMap
from onnxslim_snacs.ir.types import Axis, InexactNode, is_virtual
from onnxslim_snacs.ops.analyse import Analysis

CONSUMER_ZERO = "consumer-zero"


GATHER = "consumer-zero + gather"


def oracle_name(analysis: Analysis, keep: KeepMap) -> str:
    """Which oracle a cut needs."""
    return GATHER if inexact_nodes(analysis, keep) else CONSUMER_ZERO


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
    return tuple(found)
