"""The typed registry of operator rules.

A rule is two functions that stand side by side in the file of its operator family: `propagate`
says how slots travel through the operator, `shrink` says what has to change in the node when some
of them go.  Weights need no `shrink`: every initializer is cut along its own axes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from onnxslim_snacs.errors import InternalError
from onnxslim_snacs.ir.types import Fact
from onnxslim_snacs.ops.node import Edit, Keep, OpNode
from onnxslim_snacs.ops.products import Product, Weight, no_products

Propagate = Callable[[OpNode], Iterable[Fact]]
Shrink = Callable[[OpNode, Keep], Iterable[Edit]]
Macs = Callable[[OpNode], Iterable[Product]]


def nothing_to_shrink(node: OpNode, keep: Keep) -> Iterable[Edit]:
    """For operators whose node spells out no extent."""
    return ()


@dataclass(frozen=True, slots=True)
class OpRule:
    """How slots travel through an operator, how its node shrinks, and what it multiplies.

    Attributes:
        propagate: the ties, pins, splits and sinks of a node.
        shrink: the edits of a node for what is kept; asked only if something is cut around it.
        macs: the products of a node that are summed up, as their number.
        weight: its trained numbers; None if it has none.
    """

    propagate: Propagate
    shrink: Shrink = nothing_to_shrink
    macs: Macs = no_products
    weight: Weight | None = None


#: A family's contribution: operator key ("Conv", "com.microsoft::Attention") -> rule.
Family = dict[str, OpRule]


def merge(families: Iterable[Family]) -> Family:
    """All families as one table.

    Raises:
        InternalError: two families claim one operator.
    """
    table: Family = {}
    for family in families:
        for op, rule in family.items():
            if op in table:
                raise InternalError(f"two rules are registered for operator {op}")
            table[op] = rule
    return table
