"""Activations that ONNX Runtime has fused into the operator before them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from onnxslim_snacs.torch_graph.call import Call
from onnxslim_snacs.torch_graph.operators.activation import OPERATORS as ACTIVATIONS
from onnxslim_snacs.torch_graph.operators.elementwise import clip

if TYPE_CHECKING:
    from torch import Tensor


def activated(call: Call, x: Tensor) -> Tensor:
    """What the node's attribute `activation` makes of `x`.

    Raises:
        InputRefused: nobody knows it.
    """
    name = call.attr("activation", "")
    numbers = list(call.attr("activation_params") or ())
    if not name:
        return x
    alpha = call.attr("activation_alpha", numbers[0] if numbers else None)
    beta = call.attr("activation_beta", numbers[1] if len(numbers) > 1 else None)
    if name == "Clip":
        given = {"min": alpha, "max": beta}
    else:
        given = {"alpha": alpha, "beta": beta, "gamma": call.attr("activation_gamma")}
    attributes = {key: value for key, value in given.items() if value is not None}
    run = clip if name == "Clip" else ACTIVATIONS.get(name)
    if run is None:
        raise call.refuse(f"has the activation {name}, which torch does not run")
    made: Tensor = run(replace(call, op=name, inputs=(x,), attributes=attributes))
    return made
