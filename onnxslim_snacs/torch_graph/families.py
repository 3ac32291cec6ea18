"""The typed registry of operators that torch can run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from onnxslim_snacs.errors import InternalError
from onnxslim_snacs.torch_graph.call import Call

#: Runs a node: its output, or a tuple of them.
Operator = Callable[[Call], Any]
#: A family's contribution: operator key ("Conv", "com.microsoft::Attention") -> operator.
Family = Mapping[str, Operator]


def merge(families: Iterable[Family]) -> dict[str, Operator]:
    """All families as one table.

    Raises:
        InternalError: two families claim one operator.
    """
    table: dict[str, Operator] = {}
    for family in families:
        for op, run in family.items():
            if op in table:
                raise InternalError(f"operator {op} is registered twice for torch")
            table[op] = run
    return table
