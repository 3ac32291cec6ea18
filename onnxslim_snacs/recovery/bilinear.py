"""Products of two activations that have lost summed dimensions: queries and keys.

The scores of attention are a b^T over all dimensions of a head; what is left is a' b'^T over the
kept ones.  For given a and a' the best b' is b P with P = C G^-1, C = E[a a'^T], G = E[a' a'^T]:
how the kept dimensions of a can stand for the lost ones.  The layer that makes b is then fitted to
b P, in which the lost dimensions take part, as to any other target.  (Restricted to mixtures of the
kept b this is the closed form of CORP, without its symmetrisation, which destroys the optimum.)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from onnxslim_snacs.ir.keep import KeepMap
from onnxslim_snacs.ir.types import Axis, IntArray, Sink
from onnxslim_snacs.layers.layers import Layer, stored
from onnxslim_snacs.layers.moments import FloatArray
from onnxslim_snacs.layers.tail import follow
from onnxslim_snacs.layers.walk import Walk
from onnxslim_snacs.model.graph import ModelGraph
from onnxslim_snacs.ops.analyse import Analysis

_MOVES = ("Reshape", "Transpose", "Identity", "Squeeze", "Unsqueeze")
#: Ridge on the second moments, relative to their mean.
_RIDGE = 1e-4


@dataclass(frozen=True, slots=True)
class HeadLayout:
    """Channels of one operand, head by head.

    Attributes:
        full: (heads, d) channels in the original.
        kept: (heads, s) channels in the cut model.
        outputs: channels in the original, and in the cut model.
    """

    full: IntArray
    kept: IntArray
    outputs: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Partner:
    """What the output of a layer is multiplied with.

    Attributes:
        tensor: the other operand where its layer and its bias have made it, in both models.
        dim: the axis of that tensor that holds its channels.
        there: its channels.
        here: the channels of the layer itself.
    """

    tensor: str
    dim: int
    there: HeadLayout
    here: HeadLayout


def find_partners(
    analysis: Analysis, keep: KeepMap, cut: ModelGraph, layers: Iterable[Layer]
) -> Iterator[tuple[Layer, Partner]]:
    """The later of two layers whose product has lost dimensions, with the earlier as partner.

    Args:
        analysis: the original.
        keep: what the plan keeps.
        cut: the cut model.
        layers: its layers that could be re-fitted.
    """
    ends = {follow(cut, layer).end: layer for layer in layers if layer.groups == 1}
    for _, sink in analysis.ir.sinks:
        if keep.index(sink.axis) is None or sink.weight is None:
            continue
        made = [_origin(cut, axis.tensor, ends) for axis in (sink.axis, sink.weight)]
        if None in made or made[0] == made[1]:
            continue
        first, second = sorted((name for name in made if name), key=lambda n: ends[n].position)
        there = _heads(analysis, keep, sink, ends[first])
        here = _heads(analysis, keep, sink, ends[second])
        if there and here and there.full.shape == here.full.shape:
            yield ends[second], Partner(first, ends[first].out_dim, there, here)


def _origin(cut: ModelGraph, tensor: str, ends: Mapping[str, Layer]) -> str | None:
    """The end of a layer's tail from which a tensor is only moved or scaled."""
    while tensor not in ends:
        position = cut.producer.get(tensor)
        if position is None:
            return None
        node = cut.nodes[position]
        if node.op_type in _MOVES:
            tensor = node.input[0]
            continue
        values = [stored(cut, name) for name in node.input]
        scalars = [v is not None and v.size == 1 for v in values]
        if node.op_type not in ("Mul", "Div") or scalars not in ([False, True], [True, False]):
            return None
        tensor = node.input[scalars.index(False)]
    return tensor


def _heads(analysis: Analysis, keep: KeepMap, sink: Sink, layer: Layer) -> HeadLayout | None:
    """The channels of a layer that run along a summed axis, a row for each head that stays."""
    axis = Axis(layer.out, layer.out_dim)
    group = next((g for g in analysis.ir.groups if g.on(sink.axis) is not None), None)
    index = group.on(axis) if group is not None else None
    summed, lasting = keep.index(sink.axis), keep.index(axis)
    if group is None or index is None or summed is None or lasting is None:
        return None
    along = group.on(sink.axis)
    if along is None or along.shape[1] != 1 or index.size != analysis.ir.table.extent(axis):
        return None
    order = np.argsort(along[:, 0])
    full = index[order].T  # head h, dimension d -> channel
    stays = np.isin(full, lasting)
    heads = stays.any(axis=1)
    kept = np.searchsorted(lasting, full[heads][:, summed])
    if not stays[heads][:, summed].all() or kept.size != len(lasting):
        return None
    return HeadLayout(full[heads], kept, (index.size, len(lasting)))


def mixing(partner: Partner, keep: KeepMap, original: Walk, present: Walk) -> FloatArray:
    """(channels before, channels after) the map b -> b P, head by head.

    Args:
        partner: what the layer's output is multiplied with.
        keep: what the plan keeps.
        original: a run of the original in which the partner is alive.
        present: a run of the cut model in which it is.
    """
    there, here = partner.there, partner.here
    heads, kept = there.kept.shape
    across, within = np.zeros((heads, there.full.shape[1], kept)), np.zeros((heads, kept, kept))
    for number in range(original.batches):
        a, b = (np.asarray(walk.live[partner.tensor][number]) for walk in (original, present))
        a = np.moveaxis(keep.cut(partner.tensor, a, partner.dim), partner.dim, -1)
        b = np.moveaxis(b, partner.dim, -1)
        if a.shape[:-1] != b.shape[:-1]:
            continue  # a computed value says how many rows there are
        before = a.reshape(-1, there.outputs[0])[:, there.full].transpose(1, 0, 2)
        after = b.reshape(-1, there.outputs[1])[:, there.kept].transpose(1, 0, 2)
        across += before.transpose(0, 2, 1) @ after
        within += after.transpose(0, 2, 1) @ after
    level = np.trace(within, axis1=1, axis2=2)[:, None, None] / kept
    damped = within + np.maximum(_RIDGE * level, 1e-30) * np.eye(kept)
    solved = np.linalg.solve(damped, across.transpose(0, 2, 1)).transpose(0, 2, 1)
    whole = np.zeros(here.outputs)
    whole[here.full[:, :, None], here.kept[:, None, :]] = solved
    return whole
