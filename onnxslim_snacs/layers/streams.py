"""Residual streams: who writes into one, who reads it, and what lies between.

A stream is a tensor to which branches add and from which they read, each behind a normalisation.
Its channels have no meaning of their own: any orthogonal map of them can be absorbed into the
weights of writers and readers (Ashkboos et al. 2024, SliceGPT, arXiv:2401.15024, section 3).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from onnx import numpy_helper

from onnxslim_snacs.errors import foreign
from onnxslim_snacs.ir.types import Group
from onnxslim_snacs.layers.layers import Layer, original_layers, stored
from onnxslim_snacs.layers.norms import Norm, find_norms
from onnxslim_snacs.ops.analyse import Analysis
from onnxslim_snacs.ops.node import OpNode

#: Operators that move, add or average what they read, along other axes than the stream's.
_RAW = frozenset(
    (  # noqa: SIM905
        "Add Identity Transpose Reshape Flatten Squeeze Unsqueeze Slice Gather Concat Expand Split "
        "ReduceMean GlobalAveragePool Shape"
    ).split()
)
#: The same where a shift may already have been added, which sums would add up.
_SHIFTED = _RAW - {"Add"}


@dataclass(frozen=True, slots=True)
class Stream:
    """A residual stream.

    Attributes:
        group: id of its group.
        width: its channels.
        norms: the normalisations on it.
        writers: stored tensors that write into it -> their axis along the stream.
        readers: layers that read it, each with the norm behind which it does.
    """

    group: str
    width: int
    norms: tuple[Norm, ...]
    writers: dict[str, int]
    readers: tuple[tuple[Layer, Norm | None], ...]


@dataclass(frozen=True, slots=True)
class NoStream:
    """Why a group is no stream that can be turned.

    Attributes:
        group: its id.
        reason: one sentence.
    """

    group: str
    reason: str


@dataclass(slots=True)
class _Search:
    """What is known of a group so far."""

    dims: dict[str, int]
    square: frozenset[str] = frozenset()
    kinds: dict[str, Norm | None] = field(default_factory=dict)
    writers: dict[str, int] = field(default_factory=dict)
    readers: list[tuple[Layer, Norm | None]] = field(default_factory=list)
    norms: list[Norm] = field(default_factory=list)


class _Refused(Exception):
    """The group is no such stream."""


def find_streams(analysis: Analysis) -> list[Stream | NoStream]:
    """The groups on which normalisations lie, widest first.

    Args:
        analysis: the model, analysed so that normalisations may lose channels.
    """
    norms = find_norms(analysis)
    found: list[Stream | NoStream] = []
    for group in sorted(analysis.ir.groups, key=lambda g: -g.units):
        own = [n for n in norms if n.data in {m.axis.tensor for m in group.members}]
        if not own:
            continue
        try:
            found.append(_stream(analysis, group, own))
        except _Refused as refused:
            found.append(NoStream(group.id, str(refused)))
    return found


def _stream(analysis: Analysis, group: Group, norms: list[Norm]) -> Stream:
    search = _Search(*_dims(analysis, group))
    ends = {norm.nodes[-1]: norm for norm in norms}
    inner = {position for norm in norms for position in norm.nodes}
    layers = {layer.position: (axis, layer) for axis, layer in original_layers(analysis)}
    for position, node in enumerate(analysis.nodes):
        if position in ends:
            _pass_norm(search, ends[position])
        elif position not in inner and _lies_on(search, node):
            layer = layers.get(position)
            reads = layer is not None and search.dims.get(layer[0].tensor) == layer[0].dim
            if reads and layer is not None:
                _read(search, node, layer[1])
            if any(o in search.dims for o in node.outputs):
                _write(search, analysis, node, layer[1] if layer is not None else None, reads)
            elif not reads:
                _carry(search, analysis, node)
    _check(search, analysis, norms)
    return Stream(group.id, group.units, tuple(search.norms), search.writers, tuple(search.readers))


def _dims(analysis: Analysis, group: Group) -> tuple[dict[str, int], frozenset[str]]:
    """Tensor -> its axis on the stream, and the weights that lie on it along both of theirs."""
    dims: dict[str, int] = {}
    square: set[str] = set()
    for member in group.members:
        whole = member.index.shape == (group.units, 1)
        if not whole or not np.array_equal(member.index[:, 0], np.arange(group.units)):
            raise _Refused(f"its channels lie otherwise on {foreign(member.axis)}")
        tensor = member.axis.tensor
        if dims.setdefault(tensor, member.axis.dim) == member.axis.dim:
            continue
        if stored(analysis.graph, tensor) is None:
            raise _Refused(f"{foreign(tensor)} lies on it along two axes")
        square.add(tensor)
    return dims, frozenset(square)


def _lies_on(search: _Search, node: OpNode) -> bool:
    return any(name in search.dims for name in (*node.inputs, *node.outputs))


def _pass_norm(search: _Search, norm: Norm) -> None:
    if search.kinds.get(norm.data, norm) is not None or search.dims.get(norm.data) != norm.dim:
        raise _Refused(f"a normalisation reads {foreign(norm.data)}, which was normalised before")
    search.norms.append(norm)
    search.kinds[norm.out] = norm


def _read(search: _Search, node: OpNode, layer: Layer) -> None:
    if layer.data not in search.kinds or layer.groups > 1:
        raise _Refused(f"{foreign(node.name)} ({node.op}) cannot take in another basis")
    norm = search.kinds[layer.data]
    shifts = norm is not None and bool(np.any(norm.shift != 0))
    if shifts and any(node.attr("pads", [])) and max(layer.kernel, default=1) > 1:
        raise _Refused(f"{foreign(node.name)} pads what a normalisation has shifted")
    search.readers.append((layer, norm))


def _write(
    search: _Search, analysis: Analysis, node: OpNode, layer: Layer | None, reads: bool
) -> None:
    """A node whose output lies on the stream."""
    if layer is not None and layer.weight in search.dims:
        for name in node.inputs:
            if (
                name in search.dims
                and name != layer.data
                and stored(analysis.graph, name) is not None
            ):
                search.writers[name] = layer.made if name == layer.weight else search.dims[name]
        for name in node.outputs:
            search.kinds[name] = None
        return
    if reads:
        raise _Refused(f"{foreign(node.name)} ({node.op}) reads and writes it in one basis")
    _carry(search, analysis, node)


def _carry(search: _Search, analysis: Analysis, node: OpNode) -> None:
    """A node that moves what lies on the stream, or adds to it."""
    if _is_zero(node):
        search.kinds[node.outputs[0]] = None
        return
    on = [n for n in node.inputs if n in search.dims]
    kinds = {id(search.kinds[n]): search.kinds[n] for n in on if n in search.kinds}
    for name in (n for n in on if n not in search.kinds):
        if stored(analysis.graph, name) is None:
            raise _Refused(
                f"{foreign(node.name)} ({node.op}) reads {foreign(name)} in its own basis"
            )
        search.writers[name] = search.dims[name]
        kinds[id(None)] = None
    if len(kinds) > 1:
        raise _Refused(
            f"{foreign(node.name)} ({node.op}) adds what was normalised to what was not, or joins "
            "different norms: where a norm stands behind the sum (post-norm), its scale multiplies "
            "each channel of the stream by itself, so that only the basis in which they are will do"
        )
    if not kinds:
        raise _Refused(f"{foreign(node.name)} ({node.op}) makes its channels, and holds no weights")
    kind = next(iter(kinds.values()))
    if node.op not in (_RAW if kind is None else _SHIFTED):
        raise _Refused(f"{foreign(node.name)} ({node.op}) treats its channels one by one")
    if node.op == "Add" and any(n not in search.dims for n in node.inputs):
        raise _Refused(f"{foreign(node.name)} (Add) adds the same number to all channels")
    for name in node.outputs:
        if name in search.dims:
            search.kinds[name] = kind


def _is_zero(node: OpNode) -> bool:
    """Whether a node makes zeros, which are zeros in any basis."""
    if node.op != "ConstantOfShape":
        return False
    value = node.attr("value", None)
    return value is None or not np.any(numpy_helper.to_array(value))


def _check(search: _Search, analysis: Analysis, norms: list[Norm]) -> None:
    """Every stored tensor on the stream has one part to play."""
    if len(search.norms) != len(norms):
        raise _Refused("a normalisation on it was not reached")
    ours = {name for norm in norms for name in norm.constants}
    reading = [layer.weight for layer, _ in search.readers]
    for name in search.dims:
        if stored(analysis.graph, name) is None:
            continue
        parts = reading.count(name) + (name in search.writers) + (name in ours)
        if (
            parts != (2 if name in search.square else 1)
            or len(analysis.graph.consumers.get(name, ())) > 1
        ):
            raise _Refused(f"{foreign(name)} is read in more than one place")
    centred = any(norm.centred for norm in search.norms)
    if centred and any(norm is None or not norm.centred for _, norm in search.readers):
        raise _Refused("a layer reads it without the normalisation that takes its mean off")
