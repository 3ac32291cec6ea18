"""What a cut model has to compute: the original with the removed slots taken out of every sum.

Consumer-zero: wherever the original sums over a channel axis, the removed channels are replaced by
zeros, so that they contribute what a consumer with zero weights would let through.  Zeros at the
producer would be wrong as soon as an activation has f(0) != 0.

Gather: a node that takes statistics over an axis is shown the kept slots alone, and what it says of
them is spread over all slots again.  The removed slots repeat a kept one there; nobody reads them,
and if somebody did, the comparison would show it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, helper, numpy_helper

from onnxslim_snacs.ir.keep import KeepMap
from onnxslim_snacs.ir.types import Axis, BoolArray, IntArray
from onnxslim_snacs.model.blank import blank
from onnxslim_snacs.model.body import put_body
from onnxslim_snacs.model.edit import put_nodes
from onnxslim_snacs.model.element_types import element_types
from onnxslim_snacs.model.fold import unfold
from onnxslim_snacs.ops.analyse import Analysis
from onnxslim_snacs.ops.node import known
from onnxslim_snacs.passes.shapes import frozen_inputs
from onnxslim_snacs.proof.inexact import ranged


def masked_original(
    analysis: Analysis, keep: KeepMap, runnable: ModelProto | None = None
) -> ModelProto:
    """The original with the removed slots taken out of every sum and every statistic.

    Args:
        analysis: the original.
        keep: what the plan keeps.
        runnable: what can be run of the original, to be asked for element types; by default all.

    Raises:
        InputRefused: the element type of a tensor that has to be masked is not known.
    """
    return _masked(analysis, keep, runnable, frozenset())


def whole_range_original(
    analysis: Analysis, keep: KeepMap, runnable: ModelProto | None = None
) -> ModelProto:
    """The same, but that dynamic quantisers see all slots: their consumers have the zeros.

    Args:
        analysis: the original.
        keep: what the plan keeps.
        runnable: what can be run of the original, to be asked for element types; by default all.
    """
    behind = [p for p, _ in ranged(analysis, keep)]
    known_points = (p for p in behind if analysis.nodes[p].op == "DynamicQuantizeLinear")
    return _masked(analysis, keep, runnable, frozenset(known_points))


def _masked(
    analysis: Analysis, keep: KeepMap, runnable: ModelProto | None, behind: frozenset[int]
) -> ModelProto:
    """The masked original; the nodes `behind` get their zeros on what they write."""
    model = ModelProto()
    model.CopyFrom(analysis.graph.proto)
    del model.graph.value_info[:]  # what is declared there may be wrong, and then stops masks alone
    for body in analysis.bodies:
        if body.analysis.loses(keep):
            node = model.graph.node[body.position]
            put_body(node, body.attribute, masked_original(body.analysis, keep))
    work = _Spliced(model, analysis.graph.opsets.get("", 1), analysis.prefix)
    if analysis.is_half:
        _keep_numbers(work, analysis, keep)
    _show_the_kept(work, analysis, keep)
    _blank_the_rest(work, analysis, keep, runnable or analysis.graph.proto, behind)
    put_nodes(model.graph, before=work.before, after=work.after)
    unfold(model, analysis.folds)
    return model


@dataclass(slots=True)
class _Spliced:
    """The copy under work, and the nodes to put before and behind its nodes."""

    model: ModelProto
    opset: int
    prefix: str = ""
    before: dict[int, list[NodeProto]] = field(default_factory=dict)
    after: dict[int, list[NodeProto]] = field(default_factory=dict)
    names: int = 0

    def fresh(self) -> str:
        """A name that no tensor of a model can have."""
        self.names += 1
        return f"oracle\0{self.prefix}{self.names}"

    def ahead(self, position: int, operand: int, made: Iterable[NodeProto], name: str) -> None:
        """Let an input of a node read `name`, which `made` write."""
        self.before.setdefault(position, []).extend(made)
        self.model.graph.node[position].input[operand] = name

    def behind(self, position: int, output: int, made: Iterable[NodeProto], name: str) -> None:
        """Let an output of a node be called `name`, which `made` read to write the old name."""
        self.after[position] = [*made, *self.after.get(position, [])]
        self.model.graph.node[position].output[output] = name


def _keep_numbers(work: _Spliced, analysis: Analysis, keep: KeepMap) -> None:
    """Numbers in half precision that follow from extents, as the model itself has computed them.

    Both sides are compared in single precision, and the cut model has these as constants.
    """
    for position, operand, value in frozen_inputs(analysis, keep, set()):
        if isinstance(value, np.ndarray) and value.dtype.itemsize == 2 and value.dtype.kind in "fV":
            name = work.fresh()
            work.ahead(position, operand, [_constant(name, value)], name)


def _show_the_kept(work: _Spliced, analysis: Analysis, keep: KeepMap) -> None:
    """The gather oracle."""
    for position, fact in analysis.ir.inexact:
        kept = keep.index(fact.axis)
        if kept is None:
            continue
        extent = analysis.ir.table.extent(fact.axis)
        slots = np.arange(extent) if fact.index is None else fact.index
        index = np.flatnonzero(np.isin(slots, kept))
        places = np.zeros(len(slots), dtype=np.int64)
        places[index] = np.arange(len(index))
        node = work.model.graph.node[position]
        for operand, dim in fact.inputs:
            name = work.fresh()
            work.ahead(position, operand, _pick(node.input[operand], name, index, dim), name)
        for output, dim in fact.outputs:
            name = work.fresh()
            work.behind(position, output, _pick(name, node.output[output], places, dim), name)


def _blank_the_rest(
    work: _Spliced,
    analysis: Analysis,
    keep: KeepMap,
    runnable: ModelProto,
    behind: frozenset[int],
) -> None:
    """The consumer-zero oracle."""
    sinks = [(p, s) for p, s in analysis.ir.sinks if keep.index(s.axis) is not None]
    blanks = [(p, b) for p, b in analysis.ir.blanks if keep.index(b.axis) is not None]
    filled = [analysis.nodes[position].outputs[fact.output] for position, fact in blanks]
    asked = (*(sink.zeros[0].tensor for _, sink in sinks), *filled)
    types = element_types(runnable, asked, analysis.graph.base_dir)
    for position, sink in sinks:
        axis, operand = sink.zeros
        source, name = work.model.graph.node[position].input[operand], work.fresh()
        rank = len(known(analysis.facts.shape(axis.tensor)))
        mask = _mask(analysis, keep, axis, rank, axis.dim)
        if position in behind:
            _blank_quantised(work, position, mask)
            continue
        made = _blank(work, source, name, mask, types[axis.tensor], sink.zero)
        work.ahead(position, operand, made, name)
    for (position, fact), tensor in zip(blanks, filled, strict=True):
        target, name = work.model.graph.node[position].output[fact.output], work.fresh()
        rank = len(known(analysis.facts.shape(tensor)))
        mask = _mask(analysis, keep, fact.axis, rank, fact.dim)
        work.behind(position, fact.output, _blank(work, name, target, mask, types[tensor]), name)


def _blank_quantised(work: _Spliced, position: int, mask: BoolArray) -> None:
    """Zeros on what DynamicQuantizeLinear writes: there zero is the zero point."""
    node, name = work.model.graph.node[position], work.fresh()
    target, point = node.output[0], node.output[2]
    made = [
        _constant(f"{name}\0mask", mask),
        helper.make_node("Where", [f"{name}\0mask", name, point], [target]),
    ]
    work.behind(position, 0, made, name)


def _mask(analysis: Analysis, keep: KeepMap, axis: Axis, rank: int, dim: int) -> BoolArray:
    """Whether each slot of an axis stays, with the axis at dimension `dim` of `rank`."""
    mask = np.zeros(analysis.ir.table.extent(axis), dtype=bool)
    mask[keep.index(axis)] = True
    spread = [1] * rank
    spread[dim] = -1
    return mask.reshape(spread)


def _constant(name: str, value: NDArray[np.generic]) -> NodeProto:
    return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(value))


def _pick(source: str, target: str, index: IntArray, dim: int) -> list[NodeProto]:
    """Nodes that give the slots `index` of axis `dim`."""
    return [
        _constant(f"{target}\0index", index.astype(np.int64)),
        helper.make_node("Gather", [source, f"{target}\0index"], [target], axis=dim),
    ]


def _blank(
    work: _Spliced, source: str, target: str, mask: BoolArray, kind: int, zero: str = ""
) -> list[NodeProto]:
    """Nodes that copy `source` where the mask is set and write zeros elsewhere."""
    made = [_constant(f"{target}\0kept", mask)]
    if work.opset < 9:
        # before Where, removed slots first repeat a kept one, which is as finite as the answer is
        dim = int(np.argmax(mask.shape))
        places = np.where(mask.reshape(-1), np.arange(mask.size), int(np.argmax(mask)))
        made += _pick(source, f"{target}\0whole", places, dim)
        source = f"{target}\0whole"
    return [*made, *blank(source, target, f"{target}\0kept", kind, work.opset, zero)]
