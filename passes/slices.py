"""Cut what a model stores and what it declares, each tensor along its own axes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from onnx import ValueInfoProto

from onnxslim_snacs.ir.keep import KeepMap
from onnxslim_snacs.ir.types import Axis
from onnxslim_snacs.model.edit import write_constant, write_tensor
from onnxslim_snacs.model.graph import node_constant
from onnxslim_snacs.passes.draft import Draft


def slice_tensors(draft: Draft) -> None:
    """Cut every initializer and Constant node along its own axes."""
    cut = {axis.tensor for axis in draft.keep.kept}
    for tensor in draft.model.graph.initializer:
        if tensor.name in cut:
            array = draft.analysis.graph.array(tensor.name)
            write_tensor(tensor, draft.keep.cut(tensor.name, array))
    for node in draft.model.graph.node:
        if node.op_type == "Constant" and node.output[0] in cut:
            value = node_constant(node)
            if value is not None:
                write_constant(node, draft.keep.cut(node.output[0], value))


def declare_extents(draft: Draft) -> None:
    """Correct the extents that the file declares for cut tensors.

    What is declared within the graph and was otherwise in a run is left out: ONNX Runtime lays out
    its memory by it, and a mistake that did no harm may do some where extents are others.
    """
    graph = draft.model.graph
    for k in reversed(range(len(graph.value_info))):
        if _is_false(graph.value_info[k], draft.analysis.facts.samples(graph.value_info[k].name)):
            del graph.value_info[k]
    declare((*graph.value_info, *graph.input, *graph.output), draft.keep)


def _is_false(info: ValueInfoProto, seen: Sequence[tuple[int, ...]]) -> bool:
    """Whether a run had another rank or extent than is declared."""
    if not info.type.tensor_type.HasField("shape"):
        return False
    dims = info.type.tensor_type.shape.dim
    known = [(k, dim.dim_value) for k, dim in enumerate(dims) if dim.HasField("dim_value")]
    return any(len(s) != len(dims) or any(s[k] != n for k, n in known) for s in seen)


def declare(infos: Iterable[ValueInfoProto], keep: KeepMap) -> None:
    """Write the extents that are left into declarations.

    A name such as `2*N`, of heads and samples in one axis, is taken off an axis that has lost some:
    ONNX Runtime lets tensors of equal names share memory, and another one may have kept its heads.
    """
    for info in infos:
        held = info.type.sequence_type.elem_type if _is_sequence(info) else info.type
        for dim, declared in enumerate(held.tensor_type.shape.dim):
            axis = Axis(info.name, dim)
            if keep.index(axis) is None:
                continue
            if axis not in keep.periods:
                declared.dim_value = len(keep.kept[axis])
            elif declared.HasField("dim_value"):
                declared.dim_value = keep.extent(axis, declared.dim_value)
            else:
                declared.ClearField("dim_param")


def _is_sequence(info: ValueInfoProto) -> bool:
    return bool(info.type.WhichOneof("value") == "sequence_type")
