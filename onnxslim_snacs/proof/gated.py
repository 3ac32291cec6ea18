"""Give both sides of a proof the same numbers in the middle of the model.

A tensor that is a gate is still computed and can be looked at, but whoever reads it reads an input
of its own instead.  What a run makes of rounding behind it, be it another order of boxes, another
step of a quantiser or the chaos of a recurrent layer, is then the same on both sides.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, helper

from onnxslim_snacs.model.graph import subgraphs


def given(tensor: str) -> str:
    """The input that stands for a gate; no tensor of a model can have such a name."""
    return f"gate\0{tensor}"


def gated(model: ModelProto, values: Mapping[str, NDArray[Any]]) -> ModelProto:
    """A copy of a model whose nodes read `given(tensor)` instead of each gate.

    Args:
        model: the model.
        values: gate -> any value of it, of which the element type is taken.
    """
    copy = ModelProto()
    copy.CopyFrom(model)
    _redirect(copy.graph, frozenset(values))
    copy.graph.input.extend(
        helper.make_tensor_value_info(
            given(name), helper.np_dtype_to_tensor_dtype(np.asarray(value).dtype), None
        )
        for name, value in values.items()
    )
    return copy


def _redirect(graph: GraphProto, gates: frozenset[str]) -> None:
    for node in graph.node:
        for place, name in enumerate(node.input):
            if name in gates:
                node.input[place] = given(name)
        for body in subgraphs(node):
            own = {v.name for v in (*body.input, *body.initializer)}
            made = {name for inner in body.node for name in inner.output}
            _redirect(body, gates - own - made)
