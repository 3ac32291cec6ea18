"""The layer behind a layer, as the released code pairs them (method 3.3).

There the parent of a layer is not the tensor that it reads but the layer before it, taken before
its own normalisation and activation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onnxslim_snacs.layers.pairs import Pair
from onnxslim_snacs.ops.analyse import Analysis


@dataclass(frozen=True, slots=True)
class LayerPair:
    """A layer and the layer before it.

    Attributes:
        child: the layer.
        parent: the layer that makes what it reads; after a sum the last one of the longer way.
        source: (P,) for each channel that the child reads, the parent's channel that it is.
    """

    child: Pair
    parent: Pair
    source: NDArray[np.int64]


def consecutive_layers(
    analysis: Analysis, layers: Sequence[Pair]
) -> tuple[list[LayerPair], dict[str, str]]:
    """Pair every layer with the one before it.

    Args:
        analysis: the model.
        layers: its layers with weights.

    Returns:
        The pairs, and name of a layer -> why it has none.
    """
    before = _nearest(analysis, {layer.out.tensor: layer for layer in layers})
    pairs, skipped = [], {}
    for layer in layers:
        parent = before.get(layer.data.tensor)
        if layer.groups > 1:
            skipped[layer.name] = "a grouped layer: the release knows none"
        elif parent is None:
            skipped[layer.name] = "it reads what no layer with weights has made"
        elif (source := _source(analysis, parent, layer)) is None:
            skipped[layer.name] = f"its channels are not those of {parent.name}, the layer before"
        else:
            pairs.append(LayerPair(layer, parent, source))
    return pairs, skipped


def _nearest(analysis: Analysis, makers: dict[str, Pair]) -> dict[str, Pair]:
    """Tensor -> the layer on the way to it that has no other layer behind it.

    Where ways meet, the one with the most layers counts: the last layer of a block, not that of
    its shortcut.
    """
    found: dict[str, tuple[int, int, Pair]] = {}
    for position, node in enumerate(analysis.nodes):
        behind = [found[name] for name in node.inputs if name in found]
        last = max(behind, key=lambda way: way[:2], default=None)
        depth = last[0] + 1 if last is not None else 1
        for name in node.outputs:
            if name in makers:
                found[name] = (depth, position, makers[name])
            elif last is not None:
                found[name] = last
    return {name: layer for name, (_, _, layer) in found.items()}


def _source(analysis: Analysis, parent: Pair, child: Pair) -> NDArray[np.int64] | None:
    """Which channel of the parent each channel that the child reads is, None if that is unclear."""
    source = np.full(child.weight.shape[1], -1, dtype=np.int64)
    for group in analysis.ir.groups:
        read, made = group.on(child.data), group.on(parent.out)
        if read is not None and made is not None and made.shape[1] == 1:
            source[read] = made
    if (source >= 0).all():
        return source
    same = len(source) == parent.weight.shape[0]
    return np.arange(len(source), dtype=np.int64) if same else None
