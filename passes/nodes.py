"""What the rules ask for: attributes, operands that spell out extents, replaced nodes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, helper

from onnxslim_snacs.errors import InternalError
from onnxslim_snacs.ir.keep import KeepMap
from onnxslim_snacs.model.body import bodies_of
from onnxslim_snacs.model.edit import add_initializer, put_nodes, set_input
from onnxslim_snacs.ops import OPERATORS, chain_rules
from onnxslim_snacs.ops.node import Edit, OpNode, ReplaceNode, SetAttribute, SetDims, SetInput
from onnxslim_snacs.passes.draft import Draft
from onnxslim_snacs.passes.shapes import frozen_inputs, new_dims, operand_dtype, vector_length


def edit_nodes(draft: Draft) -> None:
    """Let every node that the cut touches be edited as its rule says."""
    inside = {position for chain in draft.analysis.chains for position in chain.nodes}
    for position, node in enumerate(draft.analysis.nodes):
        if position not in inside and _touched(node, draft.keep):
            for edit in _edits(node, draft.keep):
                _apply(draft, position, node, edit)


def edit_chains(draft: Draft) -> None:
    """The same for movement nodes that are treated together."""
    for chain in draft.analysis.chains:
        if draft.keep.touches(chain.tensors):
            for position, edit in chain_rules.shrink(chain, draft.keep):
                _apply(draft, position, draft.analysis.nodes[position], edit)


def freeze_numbers(draft: Draft) -> None:
    """Keep numbers that are derived from extents which the cut changes."""
    frozen = frozen_inputs(draft.analysis, draft.keep, draft.replaced)
    for position, index, value in frozen:
        node = draft.analysis.nodes[position]
        if isinstance(value, SetDims):
            _set_dims(draft, position, node, value)
        else:
            _set_input(draft, position, index, draft.keep.cut(node.inputs[index], value))


def place_nodes(draft: Draft) -> None:
    """Bring inserted and replacing nodes to their places."""
    put_nodes(draft.model.graph, before=draft.before, instead=draft.instead)


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


def _apply(draft: Draft, position: int, node: OpNode, edit: Edit) -> None:
    if isinstance(edit, SetAttribute):
        _set_attribute(draft.model.graph.node[position], edit)
    elif isinstance(edit, SetInput):
        _set_input(draft, position, edit.index, edit.value)
    elif isinstance(edit, SetDims):
        _set_dims(draft, position, node, edit)
    else:
        _replace(draft, position, edit)


def _set_attribute(node: NodeProto, edit: SetAttribute) -> None:
    attributes = [a for a in node.attribute if a.name != edit.name]
    if edit.value is not None:
        attributes.append(helper.make_attribute(edit.name, edit.value))
    del node.attribute[:]
    node.attribute.extend(attributes)


def _set_input(draft: Draft, position: int, index: int, value: NDArray[Any]) -> None:
    """Give one input of one node another constant, under its own name if nobody else reads it."""
    node = draft.model.graph.node[position]
    draft.replaced.add((position, index))
    alone = index < len(node.input) and draft.uses(node.input[index]) == 1
    left = set_input(draft.model, node, index, value, alone=alone, suffix="cut")
    if left:
        draft.suspects.add(left)


def _set_dims(draft: Draft, position: int, node: OpNode, edit: SetDims) -> None:
    """Change entries of a shape vector, part of which may be known only at run time."""
    known = new_dims(node, edit)
    if known is not None:
        _set_input(draft, position, edit.index, known)
        return
    old = node.inputs[edit.index]
    size = vector_length(node, edit.index)
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
        name = add_initializer(draft.model, f"{stem}_{op.lower()}", operand)
        new = f"{name}_dims"
        draft.before.setdefault(position, []).append(helper.make_node(op, [old, name], [new]))
        old = new
    draft.model.graph.node[position].input[edit.index] = old
    draft.replaced.add((position, edit.index))


def _replace(draft: Draft, position: int, edit: ReplaceNode) -> None:
    draft.suspects.update(draft.model.graph.node[position].input)
    draft.instead[position] = list(edit.nodes)
    for name, value in edit.initializers.items():
        add_initializer(draft.model, name, value)
