"""What recovery may have touched in a cut model, and whether nothing else was.

A model that was re-fitted computes something else than the cut, so that it cannot be proved to
compute the same.  It can be proved to be the cut in all but the numbers that a re-fit may change:
weights and biases of layers that read what the cut has changed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto

from onnxslim_snacs.errors import foreign
from onnxslim_snacs.ir.keep import KeepMap
from onnxslim_snacs.layers.aims import Aims
from onnxslim_snacs.layers.floated import floated
from onnxslim_snacs.layers.twins import twin_keep, twin_of
from onnxslim_snacs.layers.typed import scale_of, typed
from onnxslim_snacs.model.graph import ModelGraph, node_constant
from onnxslim_snacs.model.mapped import tensor_array
from onnxslim_snacs.ops.analyse import Analysis
from onnxslim_snacs.recovery.gates import GateTask
from onnxslim_snacs.recovery.recover import tasks_of
from onnxslim_snacs.recovery.tasks import Task

_GATE_BIAS = 3
#: Behind the name of a product to which a bias was added.
_PRODUCT = "_product"

Constants = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Touched:
    """A model beside the cut from which it was made.

    Attributes:
        weights: constants with other numbers than in the cut, and added biases.
        wrong: what recovery cannot have done, "" if there is nothing.
    """

    weights: tuple[str, ...]
    wrong: str = ""


def touched(
    analysis: Analysis,
    keep: KeepMap,
    cut: ModelProto,
    other: ModelProto,
    other_dir: Path | None = None,
    aims: Aims | None = None,
    *,
    trained: bool = False,
) -> Touched:
    """Compare a model with the cut that it was re-fitted from.

    Args:
        analysis: the original.
        keep: what the plan keeps.
        cut: the cut model.
        other: the re-fitted model.
        other_dir: folder of its external data.
        trained: whether every number may be another one, for the model was trained at the end.
        aims: what recovery aimed at, if `analysis` is without some blocks of the original.
    """
    graph = ModelGraph(cut, analysis.graph.base_dir)
    places, names = _places(analysis, keep, graph, aims)
    if aims is None:
        more = _twin_places(analysis, keep, graph)
        places, names = places | more[0], names | more[1]
    before = _constants(cut, analysis.graph.base_dir)
    after = _constants(other, other_dir)
    nodes = _without_biases(other, frozenset(node.output[0] for node in cut.graph.node))
    replaced: set[str] = set()
    wrong = next(_other_nodes(cut, nodes, places, after, replaced), "")
    if not wrong:
        free = names | set(before) if trained else names
        wrong = next(_other_numbers(before, after, free, replaced), "")
    changed = (n for n, v in after.items() if n not in before or not _same(before[n], v))
    return Touched(tuple(changed), wrong)


def _places(
    analysis: Analysis, keep: KeepMap, graph: ModelGraph, aims: Aims | None
) -> tuple[set[tuple[str, int]], set[str]]:
    """Inputs that may get another constant, by node and position; constants that may change."""
    places: set[tuple[str, int]] = set()
    names: set[str] = set()
    by_output = {name: node for node in graph.nodes for name in node.output if name}
    for sums in (False, True):
        for task in tasks_of(analysis, keep, graph, wide=True, sums=sums, aims=aims):
            if isinstance(task, GateTask):
                names.add(task.weight)
                places.add((by_output[task.out].output[0], _GATE_BIAS))
            elif isinstance(task, Task):
                names.add(task.layer.weight)
                places.update(_bias_places(task))
    for output, position in places:
        inputs = by_output[output].input
        names.update(inputs[position : position + 1])
    # a weight of another type is written where it is stored, in front of Cast and the like
    lying = [place for name in names if name and (place := typed(graph, name)) is not None]
    scales = {scale_of(graph, place) for place in lying} - {""}  # which grow with their weights
    return places, {place.name for place in lying} | scales


def _twin_places(
    analysis: Analysis, keep: KeepMap, graph: ModelGraph
) -> tuple[set[tuple[str, int]], set[str]]:
    """The same for integer products, which are re-fitted as the float layers they stand for."""
    twin = twin_of(analysis)
    there = None if twin is None else twin_keep(analysis, twin, keep)
    form = None if there is None else floated(graph)
    if twin is None or there is None or form is None:
        return set(), set()
    places, names = _places(twin, there, ModelGraph(form.model, graph.base_dir), None)
    places |= {place for name, place in form.biases.items() if name in names}
    by_output = {name: node for node in graph.nodes for name in node.output if name}
    read = (by_output[out].input[at : at + 1] for out, at in places if out in by_output)
    known = {form.copies.get(name, name) for name in names} - form.added
    return places, known.union(*read)


def _bias_places(task: Task) -> Iterator[tuple[str, int]]:
    if task.layer.trained.bias is not None:
        yield task.layer.out, task.layer.trained.bias
    for tail in (task.tail, task.tail.alone):
        if tail.bias is not None:
            yield tail.bias.reader, tail.bias.input


def _constants(model: ModelProto, base_dir: Path | None) -> dict[str, NDArray[Any]]:
    found = {tensor.name: tensor_array(tensor, base_dir) for tensor in model.graph.initializer}
    for node in model.graph.node:
        value = node_constant(node) if node.op_type == "Constant" else None
        if value is not None:
            found[node.output[0]] = value
    return found


def _without_biases(other: ModelProto, made: frozenset[str]) -> list[NodeProto]:
    """The nodes, without sums that add a bias to the product of a matrix."""
    nodes = [NodeProto.FromString(node.SerializeToString()) for node in other.graph.node]
    by_output = {node.output[0]: node for node in nodes if node.output}
    left = []
    for node in nodes:
        product = node.input[0] if node.op_type == "Add" else ""
        maker = by_output.get(product)
        if maker is None or product != f"{node.output[0]}{_PRODUCT}" or product in made:
            left.append(node)
            continue
        maker.output[0] = node.output[0]
    return left


def _other_nodes(
    cut: ModelProto,
    nodes: list[NodeProto],
    places: set[tuple[str, int]],
    after: Constants,
    replaced: set[str],
) -> Iterator[str]:
    """Nodes that are not those of the cut; constants that lose a reader go into `replaced`."""
    was = [node for node in cut.graph.node if node.op_type != "Constant"]
    now = [node for node in nodes if node.op_type != "Constant"]
    if len(was) != len(now):
        yield f"it has {len(now)} nodes, the cut model has {len(was)}"
        return
    for old, new in zip(was, now, strict=True):
        name = foreign(old.name or old.output[0])
        if (old.op_type, old.domain, list(old.output)) != (
            new.op_type,
            new.domain,
            list(new.output),
        ):
            yield f"node {name} ({foreign(old.op_type)}) is not in its place"
        elif not _same_attributes(old, new):
            yield f"node {name} ({foreign(old.op_type)}) has other attributes"
        for position in range(max(len(old.input), len(new.input))):
            a, b = (n.input[position] if position < len(n.input) else "" for n in (old, new))
            if a == b:
                continue
            if (old.output[0], position) not in places or b not in after:
                yield f"node {name} ({foreign(old.op_type)}) reads {foreign(b)}, not {foreign(a)}"
            replaced.add(a)


def _same_attributes(old: NodeProto, new: NodeProto) -> bool:
    """Whether they are the same; a gain of zero on a bias may go when there is one."""
    was, now = (
        {a.name: a.SerializeToString(deterministic=True) for a in node.attribute}
        for node in (old, new)
    )
    gone = {a.name for a in old.attribute if a.name == "beta" and a.f == 0} - set(now)
    return {name: text for name, text in was.items() if name not in gone} == now


def _other_numbers(
    before: Constants, after: Constants, names: set[str], replaced: set[str]
) -> Iterator[str]:
    """Constants that are not those of the cut, although recovery does not touch them."""
    for name, value in before.items():
        there = after.get(name)
        if there is None:
            if name not in replaced:
                yield f"weight {foreign(name)} is not there"
        elif there.shape != value.shape or there.dtype != value.dtype:
            yield (
                f"weight {foreign(name)} is {there.dtype} {there.shape}, expected {value.dtype} "
                f"{value.shape}"
            )
        elif name not in names and not _same(value, there):
            yield f"weight {foreign(name)} has other numbers, and recovery does not touch it"


def _same(a: NDArray[Any], b: NDArray[Any]) -> bool:
    if a.dtype.kind in "OU":
        return bool(np.array_equal(a, b))
    return a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()
