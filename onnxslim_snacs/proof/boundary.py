"""What a proof does not run: nodes that ONNX Runtime does not know, and nodes that draw numbers.

No channel around such a node goes, for it has no rule or passes none.  So it is taken out of both
models: what it reads becomes an output that is compared, what it writes becomes an input that is
fed the same numbers on both sides.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, helper

from onnxslim_snacs.errors import InputRefused, foreign
from onnxslim_snacs.ir.keep import KeepMap
from onnxslim_snacs.model.element_types import element_types
from onnxslim_snacs.model.graph import ModelGraph, captured, subgraphs
from onnxslim_snacs.model.sizes import Sizes, random_inputs
from onnxslim_snacs.ops import OPERATORS
from onnxslim_snacs.ops.analyse import Analysis
from onnxslim_snacs.ops.dropout import in_training
from onnxslim_snacs.ops.node import op_key
from onnxslim_snacs.ops.source import RANDOM

#: What ONNX Runtime says of an operator that it knows, but not for the types that it gets.
_NO_KERNEL = re.compile(r"Could not find an implementation for (\w+)\(")
#: Domains of operators that come with ONNX Runtime.
_RUNTIME_DOMAINS = ("com.microsoft", "com.microsoft.nchwc", "com.microsoft.experimental")

Feeds = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Boundary:
    """Nodes that are taken out.

    Attributes:
        nodes: their positions among the nodes of the original.
        names: their names, for the user.
        made: all tensors that they write.
        reads: tensors that they read and others write.
        writes: tensors that they write and others read -> (element type, shape; () if not asked).
    """

    nodes: frozenset[int]
    names: tuple[str, ...]
    made: frozenset[str]
    reads: tuple[str, ...]
    writes: Mapping[str, tuple[int, tuple[int, ...]]]


def boundaries(analysis: Analysis) -> list[frozenset[int]]:
    """The nodes to take out, in the order in which it is worth trying."""
    nodes = analysis.nodes
    random = frozenset(k for k, n in enumerate(nodes) if n.op in RANDOM or in_training(n))
    if analysis.facts.ran:
        return [random]
    foreign_ones = random | {k for k in range(len(nodes)) if _unknown(analysis, nodes[k].proto)}
    foreign_ones |= without_kernel(analysis, analysis.facts.note)
    ruleless = foreign_ones | {k for k, node in enumerate(nodes) if node.op not in OPERATORS}
    return list(dict.fromkeys((foreign_ones, ruleless)))


def without_kernel(analysis: Analysis, said: str) -> frozenset[int]:
    """Nodes of the operators of which ONNX Runtime says that it has them, but not for these types.

    Args:
        analysis: the original.
        said: its message, which names the first of them.
    """
    named = {match.group(1) for match in _NO_KERNEL.finditer(said)}
    return frozenset(k for k, node in enumerate(analysis.nodes) if node.proto.op_type in named)


def _unknown(analysis: Analysis, node: NodeProto) -> bool:
    """Whether ONNX Runtime has no such operator, here or in a body of the node."""
    if any(_unknown(analysis, inner) for body in subgraphs(node) for inner in body.node):
        return True
    functions = {(f.domain, f.name) for f in analysis.graph.proto.functions}
    if node.domain in _RUNTIME_DOMAINS or (node.domain, node.op_type) in functions:
        return False
    domain = "" if node.domain == "ai.onnx" else node.domain
    version = analysis.graph.opsets.get(domain, 1)
    return not onnx.defs.has(node.op_type, version, domain)


def make_boundary(
    analysis: Analysis, keep: KeepMap, nodes: frozenset[int], sizes: Sizes
) -> Boundary:
    """Find out what goes in and out of the nodes.

    Where the type or the shape of what they write is not known, those that read it are taken out
    as well, as long as no channel goes there.

    Args:
        analysis: the original.
        keep: what the plan keeps.
        nodes: positions of the nodes.
        sizes: shape of every graph input.

    Raises:
        InputRefused: a channel around one of them goes, or too little is known of what they write.
    """
    told = {} if analysis.facts.ran or not nodes else _static(analysis, sizes)
    pending = sorted(nodes)
    while pending and not analysis.facts.ran:
        tensors = [name for name in analysis.graph.nodes[pending.pop()].output if name]
        for name in (n for n in tensors if n not in told):
            behind = [k for k in analysis.graph.consumers.get(name, ()) if k not in nodes]
            found = next((f for k in behind if (f := _read_by(analysis, k, name))), None)
            if found is not None:
                told[name] = found
                continue
            nodes |= frozenset(behind)
            pending.extend(behind)
    _require_whole(analysis, keep, nodes)
    graph = analysis.graph
    around = [n for k in sorted(nodes) for n in (*graph.nodes[k].input, *captured(graph.nodes[k]))]
    made = [n for k in sorted(nodes) for n in graph.nodes[k].output if n]
    reads = dict.fromkeys(
        name
        for name in around
        if graph.producer.get(name, -1) not in {-1, *nodes} and not analysis.facts.is_weight(name)
    )
    writes = [n for n in made if not nodes.issuperset(graph.consumers.get(n, ()))]
    if analysis.facts.ran:
        kinds = element_types(graph.proto, writes, graph.base_dir)
        told = {name: (kind, ()) for name, kind in kinds.items()}
    names = tuple(foreign(analysis.nodes[position].name) for position in sorted(nodes))
    return Boundary(
        nodes, names, frozenset(made), tuple(reads), {name: told[name] for name in writes}
    )


def _require_whole(analysis: Analysis, keep: KeepMap, nodes: frozenset[int]) -> None:
    for position in sorted(nodes):
        node = analysis.graph.nodes[position]
        around = (n for n in (*node.input, *captured(node), *node.output) if n)
        cut = next((name for name in around if keep.touches([name])), None)
        if cut is not None:
            raise InputRefused(
                f"channels of {foreign(cut)} go, but node {foreign(analysis.nodes[position].name)} "
                f"({foreign(op_key(node))}) cannot be run, for the type or shape of what it reads "
                f"is not known ({analysis.facts.note})"
            )


def _read_by(analysis: Analysis, position: int, tensor: str) -> tuple[int, tuple[int, ...]] | None:
    """What a convolution must have read, to judge by its weight and the shape of its output."""
    node, graph = analysis.nodes[position], analysis.graph
    weight = graph.initializers.get(node.inputs[1]) if node.has_input(1) else None
    out = analysis.facts.shape(node.outputs[0])
    plain = node.op == "Conv" and node.inputs[0] == tensor and node.attr("auto_pad", "NOTSET")
    if plain != "NOTSET" or weight is None or out is None or None in out:
        return None
    kernel = weight.dims[2:]
    strides = node.attr("strides", [1] * len(kernel))
    dilations = node.attr("dilations", [1] * len(kernel))
    pads = node.attr("pads", [0] * (2 * len(kernel)))
    image = (
        ((extent or 1) - 1) * stride + dilation * (size - 1) + 1 - begin - end
        for extent, stride, dilation, size, begin, end in zip(
            out[2:], strides, dilations, kernel, pads, pads[len(kernel) :], strict=False
        )
    )
    return weight.data_type, (out[0] or 1, weight.dims[1] * node.attr("group", 1), *image)


def without(model: ModelProto, boundary: Boundary) -> ModelProto:
    """A model (the original, masked, or cut) without the nodes of the boundary."""
    if not boundary.nodes:
        return model
    rest = ModelProto()
    rest.CopyFrom(model)
    graph = rest.graph
    for field in (graph.node, graph.value_info, graph.output):
        kept = [item for item in field if not _belongs(item, boundary)]
        del field[:]
        field.extend(kept)
    graph.input.extend(
        helper.make_tensor_value_info(name, kind, None)
        for name, (kind, _) in boundary.writes.items()
    )
    return rest


def _belongs(item: Any, boundary: Boundary) -> bool:
    names = item.output if isinstance(item, NodeProto) else [item.name]
    return any(name in boundary.made for name in names)


def boundary_feeds(
    analysis: Analysis, boundary: Boundary, sizes: Sizes, seeds: Sequence[int]
) -> list[dict[str, NDArray[Any]]]:
    """Seeded inputs for a model without its boundary, what the boundary writes included.

    Args:
        analysis: the original.
        boundary: what is taken out.
        sizes: shape of every graph input.
        seeds: one for each input set.
    """
    shapes = {**sizes, **{name: shape for name, (_, shape) in boundary.writes.items()}}
    rest = ModelGraph(without(analysis.graph.proto, boundary))
    return [random_inputs(rest, shapes, seed) for seed in seeds]


def _static(analysis: Analysis, sizes: Sizes) -> dict[str, tuple[int, tuple[int, ...]]]:
    """Element types and shapes of tensors by static inference, once the inputs have these sizes."""
    model = ModelProto()
    model.CopyFrom(analysis.graph.proto)
    bound: dict[str, int] = {}
    for info in model.graph.input:
        dims = info.type.tensor_type.shape.dim
        for dim, size in zip(dims, sizes.get(info.name, ()), strict=False):
            if dim.dim_param:
                bound[dim.dim_param] = size
            dim.dim_value = size
    infos = (*model.graph.value_info, *model.graph.output)
    for dim in (d for info in infos for d in info.type.tensor_type.shape.dim):
        if dim.dim_param in bound:
            dim.dim_value = bound[dim.dim_param]
    try:
        graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    except MemoryError:
        raise
    except Exception:  # inference is best effort: what the file declares may do
        graph = model.graph
    found = {}
    for info in (*graph.value_info, *graph.output):
        kind, shape = info.type.tensor_type.elem_type, info.type.tensor_type.shape
        dims = tuple(int(d.dim_value) for d in shape.dim)
        if kind and info.type.tensor_type.HasField("shape") and all(dims):
            found[info.name] = (kind, dims)
    return found


def recorded(
    feeds: Sequence[Feeds], boundary: Boundary, values: Sequence[Sequence[NDArray[Any]]]
) -> list[dict[str, NDArray[Any]]]:
    """Input sets with what the original's own boundary has written.

    Args:
        feeds: input sets.
        boundary: what is taken out.
        values: for each input set the tensors of `boundary.writes`.
    """
    return [
        {**feed, **{n: np.asarray(v) for n, v in zip(boundary.writes, row, strict=True)}}
        for feed, row in zip(feeds, values, strict=True)
    ]
