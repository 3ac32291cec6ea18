"""Drop whole blocks: who reads what a block ends in reads what goes past it.

Names survive, weights and all other nodes are copied byte for byte.  The rewiring is a few names;
a round trip through onnx-graphsurgeon would lose doc strings, metadata and the order of tensors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from onnx import ModelProto

from onnxslim_snacs.layers.branches import Branch, without_nested
from onnxslim_snacs.passes.tidy import remove_dead_nodes


def drop(model: ModelProto, branches: Sequence[Branch]) -> ModelProto:
    """A model without some of its blocks.

    Args:
        model: the model; not changed.
        branches: the blocks that go; they may follow each other, or lie in each other.
    """
    cut = ModelProto()
    cut.CopyFrom(model)
    places = standing_in(branches)
    for node in cut.graph.node:
        for k, name in enumerate(node.input):
            if name in places:
                node.input[k] = places[name]
    remove_dead_nodes(cut, set(places))
    return cut


def standing_in(branches: Sequence[Branch]) -> Mapping[str, str]:
    """Tensor in which a dropped block ends -> what is read in its place."""
    direct = {part.exit: part.shortcut for part in without_nested(branches)}
    found = {}
    for name in direct:
        place = name
        while place in direct:
            place = direct[place]
        found[name] = place
    return found
