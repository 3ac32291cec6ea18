"""Numbers of elements that a model computes with: a cut must not change them.

An extent that the model reads off a tensor and uses as a number keeps its old value, which the cut
puts in as a constant.  The number of all elements of a tensor whose batch is free has no value that
could be put in: there the channels have to stay.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from onnxslim_snacs.errors import foreign
from onnxslim_snacs.ir.types import Axis, Pin, Stated
from onnxslim_snacs.model.graph import ModelGraph
from onnxslim_snacs.ops.node import OpNode

#: Operators that read numbers as extents, places or repeats, and never compute with them.
_LISTS = frozenset(
    (
        *("ConstantOfShape", "Expand", "Gather", "GatherElements", "GatherND", "OneHot", "Pad"),
        *("Range", "Reshape", "Resize", "Slice", "Split", "Squeeze", "Tile", "TopK", "Unsqueeze"),
        *("Upsample", "If", "Loop"),
    )
)
COUNTED = "counted among the elements of a tensor, and the model computes with their number"


def count_facts(graph: ModelGraph, nodes: Sequence[OpNode]) -> Iterator[Stated]:
    """Pins on the channels that are counted in a number that changes with the input.

    Args:
        graph: the model.
        nodes: its nodes.
    """
    counted: dict[str, str] = {}
    for position, node in enumerate(nodes):
        source = _counts(node, graph, nodes) or _carried(node, counted)
        if source is None:
            continue
        if all(node.facts.follows_from_shapes(name) for name in node.outputs if name):
            counted.update((name, source) for name in node.outputs if name)
            continue
        hot = (n for n in node.inputs if n in counted and _is_number(node, n))
        for tensor in dict.fromkeys(counted[name] for name in hot):
            yield from _pins(position, node, tensor)


def _counts(node: OpNode, graph: ModelGraph, nodes: Sequence[OpNode]) -> str | None:
    """The tensor whose elements a node counts."""
    if node.op == "Size" or (node.op == "Shape" and not node.facts.ran):
        return node.inputs[0]
    if node.op != "ReduceProd":
        return None
    maker = graph.producer.get(node.inputs[0])
    return nodes[maker].inputs[0] if maker is not None and nodes[maker].op == "Shape" else None


def _carried(node: OpNode, counted: Mapping[str, str]) -> str | None:
    return next((counted[name] for name in node.inputs if name in counted), None)


def _is_number(node: OpNode, tensor: str) -> bool:
    """Whether a tensor holds real numbers that no constant can replace."""
    if not node.facts.ran:  # no value is known that a cut could put in
        return node.op not in _LISTS
    seen = [run[tensor] for run in node.facts.values if tensor in run]
    kind = seen[0].dtype.kind if seen else "f"
    return kind == "f" and node.facts.value(tensor) is None


def _pins(position: int, node: OpNode, tensor: str) -> Iterator[Stated]:
    shape = node.facts.shape(tensor) or ()
    for dim, extent in enumerate(shape):
        if extent is not None:
            pin = Pin(Axis(tensor, dim), COUNTED)
            yield Stated(position, foreign(node.name), node.op, pin)
