"""Cuts of models with integer products, seen as cuts of the float layers for which they stand."""

from __future__ import annotations

import numpy as np

from onnxslim_snacs.ir.keep import KeepMap, keep_map
from onnxslim_snacs.ir.types import Axis, BoolArray
from onnxslim_snacs.layers.floated import floated
from onnxslim_snacs.model.graph import ModelGraph
from onnxslim_snacs.ops.analyse import Analysis, analyse


def twin_of(analysis: Analysis) -> Analysis | None:
    """The float form of a model, analysed; None if it is in that form already."""
    if not analysis.facts.ran or analysis.bodies:
        return None
    form = floated(analysis.graph)
    if form is None:
        return None
    inexact = any(node.allow_inexact for node in analysis.nodes)
    feeds = analysis.facts.feeds
    sizes = {name: value.shape for name, value in feeds[0].items()} if feeds else None
    graph = ModelGraph(form.model, analysis.graph.base_dir)
    found = analyse(graph, allow_inexact=inexact, input_shapes=sizes)
    return found if found.facts.ran else None


def twin_keep(analysis: Analysis, twin: Analysis, keep: KeepMap) -> KeepMap | None:
    """What a plan keeps of the float form; None if that falls into other units."""
    masks: dict[str, BoolArray] = {}
    for group in twin.ir.groups:
        known = (m for m in group.members if analysis.facts.shape(m.axis.tensor) is not None)
        member = next(known, None)
        kept = None if member is None else keep.index(member.axis)
        if member is not None and kept is not None:
            # a unit of one view loses slots to the units of another (heads and what is within them)
            masks[group.id] = np.asarray(np.isin(member.index, kept).any(axis=1))
    try:
        found = keep_map(twin.ir, masks)
    except ValueError:
        return None
    for axis, index in keep.kept.items():
        same = found.index(axis)
        there = twin.facts.shape(axis.tensor) is not None
        if there and (same is None or not np.array_equal(same, index)):
            return None
    return found


def source_axis(analysis: Analysis, twin: Analysis, axis: Axis) -> Axis:
    """The axis of the integer form that an axis of what a float layer reads stands for."""
    graph = twin.graph
    if analysis.facts.shape(axis.tensor) is None and axis.tensor in graph.producer:
        return Axis(graph.nodes[graph.producer[axis.tensor]].input[0], axis.dim)
    return axis
