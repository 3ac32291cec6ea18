"""The dependency IR of a graph together with the bodies of its control flow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from onnxslim_snacs.errors import ShapesDisagree, foreign
from onnxslim_snacs.ir.build import DependencyGraph, build_graph
from onnxslim_snacs.ir.types import Axis, Stated
from onnxslim_snacs.model.body import bodies_of
from onnxslim_snacs.model.facts import ModelFacts
from onnxslim_snacs.model.sizes import Shape
from onnxslim_snacs.ops.control import border_facts, opens

if TYPE_CHECKING:
    from onnxslim_snacs.ops.analyse import Analysis


def extent_in(axis: Axis, shape: Shape | None) -> int | None:
    """The extent of an axis in its tensor's shape; None where it is dynamic or not known.

    Raises:
        ShapesDisagree: the tensor has fewer dimensions.
    """
    if shape is not None and axis.dim >= len(shape):
        raise ShapesDisagree(
            f"{foreign(axis.tensor)} has {len(shape)} dimensions where dimension {axis.dim} (from "
            "0) is read: the shapes that the model declares do not fit each other"
        )
    return shape[axis.dim] if shape is not None else None


def with_bodies(analysis: Analysis, stated: Sequence[Stated]) -> DependencyGraph:
    """The IR of a graph together with its bodies, tied where all bodies of a node are known.

    Args:
        analysis: the graph and its bodies, each with the IR of its own.
        stated: what the graph's nodes state.
    """
    inside: dict[int, dict[str, ModelFacts]] = {}
    for body in analysis.bodies:
        inside.setdefault(body.position, {})[body.attribute] = body.analysis.facts
    open_nodes = {
        position: analysis.nodes[position]
        for position, bodies in inside.items()
        if opens(analysis.nodes[position])
        and len(bodies) == len(list(bodies_of(analysis.graph.nodes[position])))
    }
    whole = [s for s in stated if s.node not in open_nodes]
    for position, node in open_nodes.items():
        facts = border_facts(node, inside[position])
        whole.extend(Stated(position, foreign(node.name), foreign(node.op), fact) for fact in facts)
    first = len(analysis.nodes)
    for body in analysis.bodies:
        known = body.analysis.ir.stated
        said = (s for s in known if s.node >= 0 or body.position not in open_nodes)
        whole.extend(replace(s, node=first + max(s.node, 0)) for s in said)
        first += 1 + sum(len(part.nodes) for part in body.analysis.parts())
    parts = tuple(analysis.parts())

    def extent_of(axis: Axis) -> int | None:
        shapes = (part.facts.shape(axis.tensor) for part in parts)
        return extent_in(axis, next((shape for shape in shapes if shape is not None), None))

    def is_weight(tensor: str) -> bool:
        return any(part.facts.is_weight(tensor) for part in parts)

    periods = {axis: size for part in parts for axis, size in part.ir.periods.items()}
    ir = build_graph(whole, extent_of, is_weight, periods)
    own = len(analysis.nodes)
    return replace(
        ir,
        sinks=tuple(item for item in ir.sinks if item[0] < own),
        blanks=tuple(item for item in ir.blanks if item[0] < own),
        inexact=tuple(item for item in ir.inexact if item[0] < own),
    )
