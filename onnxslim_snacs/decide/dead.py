"""Units that can go for nothing: whatever reads them multiplies them with zeros."""

from __future__ import annotations

import numpy as np

from onnxslim_snacs.ir.types import BoolArray, Group
from onnxslim_snacs.layers.pairs import Pair, layer_pairs
from onnxslim_snacs.ops.analyse import Analysis
from onnxslim_snacs.plan.kept import Kept


def without_dead_units(analysis: Analysis) -> Kept:
    """Keep what anything reads; the cut model computes the same as the whole one.

    A unit is dead if every weight that meets its slots is zero, but for weights that lead to
    slots of its own (a depthwise convolution).  One unit of every group stays.

    Args:
        analysis: the model.

    Returns:
        Group id -> (units,) whether each unit stays, for every group.
    """
    pairs = {(pair.node, pair.data): pair for pair in layer_pairs(analysis)}
    kept = {}
    for group in analysis.ir.groups:
        readers = [(p, sink) for p, sink in analysis.ir.sinks if group.on(sink.axis) is not None]
        stays = np.full(group.units, not readers)  # who reads inside of a body is not looked at
        for position, sink in readers:
            pair = pairs.get((position, sink.axis))
            stays |= _is_read(group, pair) if pair is not None else True
        if not stays.any():
            stays[0] = True
        kept[group.id] = stays
    return kept


def _is_read(group: Group, pair: Pair) -> BoolArray:
    """(units,) whether a weight other than zero leads from a unit to anything but itself."""
    read, made = group.on(pair.data), group.on(pair.out)
    assert read is not None
    units = np.repeat(np.arange(group.units), read.shape[1])
    strength = np.zeros((group.units, len(pair.weight)))
    np.add.at(strength, units, pair.weight[:, read.reshape(-1)].T)
    if made is not None:
        strength[np.arange(group.units)[:, None], made] = 0.0
    reads: BoolArray = strength.max(axis=1) > 0.0
    return reads
