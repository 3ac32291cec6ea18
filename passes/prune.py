"""Cut a model along a plan: every tensor along its own axes, every node as its rule says.

Names survive, and what the plan does not touch is copied byte for byte.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import AttributeProto, ModelProto, NodeProto, ValueInfoProto, helper, numpy_helper

from onnxslim_snacs.errors import InternalError
from onnxslim_snacs.ir.keep import KeepMap
from onnxslim_snacs.ir.types import Axis
from onnxslim_snacs.model.body import bodies_of, put_body
from onnxslim_snacs.model.graph import captured, node_constant
from onnxslim_snacs.model.share import rejoin
from onnxslim_snacs.ops import OPERATORS, chains
from onnxslim_snacs.ops.analyse import Analysis
from onnxslim_snacs.ops.node import Edit, OpNode, ReplaceNode, SetAttribute, SetDims, SetInput
from onnxslim_snacs.passes.shapes import frozen_inputs, new_dims, operand_dtype
from onnxslim_snacs.passes.tidy import remove_dead_nodes


def prune(analysis: Analysis, keep: KeepMap) -> ModelProto:
    """The model without the slots that `keep` drops.

    Args:
        analysis: the model and its dependency IR.
        keep: the kept slots of every axis.

    Returns:
        A new model; the analysed one is not changed.
    """
    model = ModelProto()
    if not keep.kept and analysis.given is not None:
        model.CopyFrom(analysis.given.proto)
        return model
    model.CopyFrom(analysis.graph.proto)
    if not keep.kept:
        rejoin(model, analysis.copies)
        return model
    for body in analysis.bodies:
        if body.analysis.loses(keep):
            node = model.graph.node[body.position]
            put_body(node, body.attribute, prune(body.analysis, keep))
            _declare(dict(bodies_of(node))[body.attribute].input, keep)
    draft = _Draft(analysis, keep, model)
    _cut_tensors(draft)
    inside = {position for chain in analysis.chains for position in chain.nodes}
    for position, node in enumerate(analysis.nodes):
        if position not in inside and _touched(node, keep):
            for edit in _edits(node, keep):
                _apply(draft, position, node, edit)
    for chain in analysis.chains:
        if keep.touches(chain.tensors):
            for position, edit in chains.shrink(chain, keep):
                _apply(draft, position, analysis.nodes[position], edit)
    for position, index, value in frozen_inputs(analysis, keep, draft.replaced):
        name = analysis.nodes[position].inputs[index]
        _set_input(draft, position, index, cut_array(value, name, keep))
    _splice(draft)
    _cut_value_infos(draft)
    remove_dead_nodes(model, draft.maybe_dead)
    rejoin(model, analysis.copies)
    return model


@dataclass(slots=True)
class _Draft:
    """The copy under work."""

    analysis: Analysis
    keep: KeepMap
    model: ModelProto
    before: dict[int, list[NodeProto]] = field(default_factory=dict)
    instead: dict[int, list[NodeProto]] = field(default_factory=dict)
    replaced: set[tuple[int, int]] = field(default_factory=set)
    maybe_dead: set[str] = field(default_factory=set)

    def uses(self, tensor: str) -> int:
        """How many times the model reads a tensor."""
        readers = self.analysis.graph.consumers.get(tensor, ())
        nodes = self.analysis.graph.nodes
        count = sum(Counter((*nodes[r].input, *captured(nodes[r])))[tensor] for r in readers)
        return count + list(self.analysis.graph.outputs).count(tensor)


def _touched(node: OpNode, keep: KeepMap) -> bool:
    # A virtual axis can only lose slots together with a real one, but a node whose tensors have
    # extent 1 there (depthwise weights) still has to hear of it.
    return keep.touches((*node.inputs, *node.outputs)) or keep.touches_node(node.key)


def _edits(node: OpNode, keep: KeepMap) -> list[Edit]:
    rule = OPERATORS.get(node.op)
    if rule is None and any(bodies_of(node.proto)):
        return []  # control flow spells out no extents
    if rule is None:
        raise InternalError(f"node {node.name} ({node.op}): cut, but the operator has no rule")
    return list(rule.shrink(node, keep))


def cut_array(array: NDArray[Any], name: str, keep: KeepMap) -> NDArray[Any]:
    """The kept part of a tensor."""
    for dim in range(array.ndim):
        index = keep.index(Axis(name, dim))
        if index is not None:
            array = np.take(array, index, axis=dim)
    return array


def _cut_tensors(draft: _Draft) -> None:
    """Cut every initializer and Constant node along its own axes."""
    cut = {axis.tensor for axis in draft.keep.kept}
    for tensor in draft.model.graph.initializer:
        if tensor.name in cut:
            array = cut_array(draft.analysis.graph.array(tensor.name), tensor.name, draft.keep)
            _write_tensor(tensor, array)
    for node in draft.model.graph.node:
        if node.op_type == "Constant" and node.output[0] in cut:
            value = node_constant(node)
            if value is not None:
                _write_constant(node, cut_array(value, node.output[0], draft.keep))


def _write_tensor(tensor: Any, array: NDArray[Any]) -> None:
    """Give a TensorProto new contents, keeping its name, type and doc string."""
    fresh = numpy_helper.from_array(np.asarray(array, order="C"), tensor.name)
    fresh.doc_string = tensor.doc_string
    fresh.data_type = tensor.data_type
    tensor.CopyFrom(fresh)


def _write_constant(node: NodeProto, array: NDArray[Any]) -> None:
    """Give a Constant node a new value."""
    old = next((a for a in node.attribute if a.name == "value"), None)
    if old is not None:
        _write_tensor(old.t, array)
        return
    del node.attribute[:]
    node.attribute.append(helper.make_attribute("value", numpy_helper.from_array(array)))


def _apply(draft: _Draft, position: int, node: OpNode, edit: Edit) -> None:
    if isinstance(edit, SetAttribute):
        _set_attribute(draft.model.graph.node[position], edit)
    elif isinstance(edit, SetInput):
        _set_input(draft, position, edit.index, edit.value)
    elif isinstance(edit, SetDims):
        _set_dims(draft, position, node, edit)
    else:
        _replace(draft, position, edit)


def _set_attribute(node: NodeProto, edit: SetAttribute) -> None:
    kept = [a for a in node.attribute if a.name != edit.name]
    changed: list[AttributeProto] = []
    if edit.value is not None:
        changed = [helper.make_attribute(edit.name, edit.value)]
    del node.attribute[:]
    node.attribute.extend([*kept, *changed])


def _set_input(draft: _Draft, position: int, index: int, value: NDArray[Any]) -> None:
    """Give one input of one node another constant, under its own name if nobody else reads it."""
    node = draft.model.graph.node[position]
    draft.replaced.add((position, index))
    node.input.extend([""] * (index + 1 - len(node.input)))
    name = node.input[index]
    if name and draft.uses(name) == 1:
        for tensor in draft.model.graph.initializer:
            if tensor.name == name:
                _write_tensor(tensor, value)
                return
        maker = draft.analysis.graph.producer.get(name)
        if maker is not None and draft.model.graph.node[maker].op_type == "Constant":
            _write_constant(draft.model.graph.node[maker], value)
            return
    if name:
        draft.maybe_dead.add(name)
    node.input[index] = _add_initializer(draft, f"{node.output[0]}_cut_{index}", value)


def _add_initializer(draft: _Draft, name: str, value: NDArray[Any]) -> str:
    graph = draft.model.graph
    graph.initializer.append(numpy_helper.from_array(np.asarray(value, order="C"), name))
    if draft.model.ir_version < 4:  # such files list every initializer among the inputs too
        kind = helper.np_dtype_to_tensor_dtype(value.dtype)
        graph.input.append(helper.make_tensor_value_info(name, kind, value.shape))
    return name


def _set_dims(draft: _Draft, position: int, node: OpNode, edit: SetDims) -> None:
    """Change entries of a shape vector, part of which may be known only at run time."""
    known = new_dims(node, edit)
    if known is not None:
        _set_input(draft, position, edit.index, known)
        return
    old = node.inputs[edit.index]
    size = node.facts.samples(old)[0][0]
    kind = operand_dtype(node, edit.index)
    times, over, plus = (np.full(size, n, dtype=kind) for n in (1, 1, 0))
    for entry, number in edit.entries.items():
        times[entry], plus[entry] = 0, number
    for entry, (a, b) in edit.scales.items():
        times[entry], over[entry] = a, b
    stem = f"{node.outputs[0]}_cut_{edit.index}"
    for op, operand, neutral in (("Mul", times, 1), ("Div", over, 1), ("Add", plus, 0)):
        if (operand == neutral).all():
            continue
        name = _add_initializer(draft, f"{stem}_{op.lower()}", operand)
        new = f"{name}_dims"
        draft.before.setdefault(position, []).append(helper.make_node(op, [old, name], [new]))
        old = new
    draft.model.graph.node[position].input[edit.index] = old
    draft.replaced.add((position, edit.index))


def _replace(draft: _Draft, position: int, edit: ReplaceNode) -> None:
    draft.maybe_dead.update(draft.model.graph.node[position].input)
    draft.instead[position] = list(edit.nodes)
    for name, value in edit.initializers.items():
        _add_initializer(draft, name, value)


def _splice(draft: _Draft) -> None:
    """Bring inserted and replacing nodes to their places."""
    if not draft.before and not draft.instead:
        return
    nodes: list[NodeProto] = []
    for position, node in enumerate(draft.model.graph.node):
        copy = NodeProto()
        copy.CopyFrom(node)
        nodes.extend(draft.before.get(position, []))
        nodes.extend(draft.instead.get(position, [copy]))
    del draft.model.graph.node[:]
    draft.model.graph.node.extend(nodes)


def _cut_value_infos(draft: _Draft) -> None:
    """Correct the extents that the file declares for cut tensors."""
    graph = draft.model.graph
    _declare((*graph.value_info, *graph.input, *graph.output), draft.keep)


def _declare(infos: Iterable[ValueInfoProto], keep: KeepMap) -> None:
    for info in infos:
        dims = info.type.tensor_type.shape.dim
        for dim, declared in enumerate(dims):
            index = keep.index(Axis(info.name, dim))
            if index is not None and Axis(info.name, dim) not in keep.periods:
                declared.dim_value = len(index)
