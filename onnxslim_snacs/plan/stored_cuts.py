"""What a plan does to everything that a model stores: the kept indices of each tensor's axes."""

from __future__ import annotations

import re
from ast import literal_eval
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray
from onnx import NodeProto, helper

from onnxslim_snacs.ir.keep import KeepMap
from onnxslim_snacs.ir.types import Axis
from onnxslim_snacs.model.graph import node_constant
from onnxslim_snacs.ops import OPERATORS
from onnxslim_snacs.ops.analyse import Analysis
from onnxslim_snacs.ops.node import SetAttribute, op_key
from onnxslim_snacs.ops.trained import trained_inputs

#: Operators whose outputs get extents that the code says in numbers.
_LAID_OUT = frozenset(
    ("Reshape", "Split", "Slice", "Pad", "Expand", "Tile", "DepthToSpace", "SpaceToDepth")
)
_SCOPES = "pkg.torch.onnx.name_scopes"


@dataclass(frozen=True, slots=True)
class StoredCut:
    """One stored tensor as one node reads it.

    Attributes:
        name: its name in the file; several entries have it if readers lose different slots.
        reader: the node that reads it.
        op: that node's operator.
        module: path of the module from which the node was exported, as far as its name tells.
        shape: extents before the cut.
        axes: axis -> the slots that stay, in ascending order; axes that lose nothing are absent.
    """

    name: str
    reader: str
    op: str
    module: str
    shape: tuple[int, ...]
    axes: Mapping[int, tuple[int, ...]] = field(default_factory=dict)

    @property
    def left(self) -> tuple[int, ...]:
        """Extents after the cut."""
        return tuple(len(self.axes.get(k, range(e))) for k, e in enumerate(self.shape))


@dataclass(frozen=True, slots=True)
class NodeChange:
    """What a node says otherwise after the cut.

    Attributes:
        node: its name.
        op: its operator.
        module: as of `StoredCut`.
        what: the attribute, or the output whose extents change.
        before: what it was; of an extent that the inputs decide, None.
        after: what it is.
    """

    node: str
    op: str
    module: str
    what: str
    before: Any
    after: Any


def stored_cuts(analysis: Analysis, keep: KeepMap) -> list[tuple[StoredCut, NDArray[Any]]]:
    """Every trained tensor with what stays of it, and its values before the cut.

    Args:
        analysis: the model.
        keep: what stays.
    """
    found = []
    for part in analysis.parts():
        values = dict(_stored(part))
        seen = set()
        for node in part.nodes:
            for name in node.inputs:
                if name not in values or name in seen:
                    continue
                seen.add(name)
                value = values[name]
                is_trained = value.dtype.kind == "f" or name in trained_inputs(node.proto)
                if not is_trained or (value.size < 2 and not value.ndim):
                    continue
                axes = {
                    dim: tuple(int(k) for k in index)
                    for dim in range(value.ndim)
                    if (index := keep.index(Axis(name, dim))) is not None
                }
                cut = StoredCut(
                    part.copies.get(name, name),
                    node.name or next(iter(node.outputs), ""),
                    op_key(node.proto),
                    module_of(node.proto),
                    value.shape,
                    axes,
                )
                found.append((cut, value))
    return found


def node_changes(analysis: Analysis, keep: KeepMap) -> list[NodeChange]:
    """What code of one's own has to say otherwise, node by node.

    That is the attributes that change, groups of convolutions for instance, and the extents of what
    is given a shape, is split, padded or laid out anew.

    Args:
        analysis: the model.
        keep: what stays.
    """
    inside = {position for chain in analysis.chains for position in chain.nodes}
    found = []
    for position, node in enumerate(analysis.nodes):
        if not keep.touches((*node.inputs, *node.outputs)) and not keep.touches_node(node.key):
            continue
        name, module = node.name or next(iter(node.outputs), ""), module_of(node.proto)
        stated = {a.name: helper.get_attribute_value(a) for a in node.proto.attribute}
        has_rule = position not in inside and node.op in OPERATORS
        for edit in OPERATORS[node.op].shrink(node, keep) if has_rule else ():
            if isinstance(edit, SetAttribute) and stated.get(edit.name) != edit.value:
                what = (edit.name, stated.get(edit.name), edit.value)
                found.append(NodeChange(name, node.op, module, *what))
        for output in node.outputs if node.op in _LAID_OUT else ():
            before = analysis.facts.shape(output)
            if before is None:
                continue
            after = [
                None if extent is None else keep.extent(Axis(output, dim), extent)
                for dim, extent in enumerate(before)
            ]
            if after != list(before):
                found.append(NodeChange(name, node.op, module, output, list(before), after))
    return found


def module_of(node: NodeProto) -> str:
    """The path of the module that a node comes from, `layer1.0.conv1`; "" if nothing tells.

    Exporters of PyTorch write it into names (`/layer1/layer1.0/conv1/Conv`) or into metadata.
    """
    for entry in node.metadata_props:
        if entry.key == _SCOPES:
            try:
                scopes = literal_eval(entry.value)
            except (ValueError, SyntaxError):
                break
            named = [s for s in scopes[:-1] if isinstance(s, str)] if scopes else []
            return named[-1] if named else ""
    path: list[str] = []
    for part in node.name.strip("/").split("/")[:-1]:
        if path and part.startswith(f"{path[-1]}."):
            path[-1] = part
        else:
            path.append(re.sub(r"_\d+$", "", part) if not path else part)
    return ".".join(path)


def _stored(part: Analysis) -> Iterator[tuple[str, NDArray[Any]]]:
    for tensor in part.graph.graph.initializer:
        yield tensor.name, part.graph.array(tensor.name)
    for node in part.graph.nodes:
        value = node_constant(node) if node.op_type == "Constant" else None
        if value is not None:
            yield node.output[0], value
