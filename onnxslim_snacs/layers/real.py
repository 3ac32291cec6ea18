"""Weights as real numbers, whatever type they are stored in."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxslim_snacs.ir.types import Axis
from onnxslim_snacs.ops import OPERATORS
from onnxslim_snacs.ops.analyse import Analysis


def real_value(analysis: Analysis, axis: Axis) -> NDArray[Any] | None:
    """The weight to which an axis belongs that makes output channels, in float.

    Integers are read as the operator that multiplies with them reads them: less their zero point,
    times their scale.

    Args:
        analysis: the model.
        axis: the axis; it keeps its place, what comes behind the first one may be unpacked.

    Returns:
        The weight in the shape in which it is read; None if its value or meaning is not known.
    """
    part = analysis.part_of(axis.tensor)
    value = part.facts.value(axis.tensor)
    if value is None or value.dtype.kind == "f":
        return value
    for position in part.graph.consumers.get(axis.tensor, ()):
        node = part.nodes[position]
        rule = OPERATORS.get(node.op)
        if rule is not None and rule.weight is not None and rule.weight.real is not None:
            return rule.weight.real(node, list(node.inputs).index(axis.tensor), axis.dim)
    return value.astype(np.float32) if value.dtype.kind == "V" else None
