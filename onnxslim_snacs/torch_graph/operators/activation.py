"""Activations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnxslim_snacs.torch_graph.call import Call, together
from onnxslim_snacs.torch_graph.families import Family
from onnxslim_snacs.torch_graph.late import functional, torch

if TYPE_CHECKING:
    from torch import Tensor


def relu(call: Call) -> Tensor:
    """Relu."""
    return torch.relu(call[0])


def sigmoid(call: Call) -> Tensor:
    """Sigmoid."""
    return torch.sigmoid(call[0])


def tanh(call: Call) -> Tensor:
    """Tanh."""
    return torch.tanh(call[0])


def leaky_relu(call: Call) -> Tensor:
    """LeakyRelu."""
    return functional.leaky_relu(call[0], call.attr("alpha", 0.01))


def prelu(call: Call) -> Tensor:
    """PRelu; the slope is broadcast from the right, and before opset 7 along the channels."""
    x, slope = together(call[0], call[1])
    if call.opset < 7 and slope.ndim == 1:
        slope = slope.reshape([-1, *[1] * (x.ndim - 2)])
    return torch.where(x < 0, slope * x, x)


def elu(call: Call) -> Tensor:
    """Elu."""
    return functional.elu(call[0], call.attr("alpha", 1.0))


def celu(call: Call) -> Tensor:
    """Celu."""
    return functional.celu(call[0], call.attr("alpha", 1.0))


def selu(call: Call) -> Tensor:
    """Selu, with a scale and a slope of its own."""
    alpha = call.attr("alpha", 1.67326319217681884765625)
    gamma = call.attr("gamma", 1.05070102214813232421875)
    return functional.elu(call[0], alpha).mul(gamma)


def gelu(call: Call) -> Tensor:
    """Gelu, exact or by tanh."""
    return functional.gelu(call[0], approximate=call.attr("approximate", "none"))


def fast_gelu(call: Call) -> Tensor:
    """FastGelu: Gelu by tanh, of a sum with a bias."""
    return functional.gelu(_with_bias(call), approximate="tanh")


def bias_gelu(call: Call) -> Tensor:
    """BiasGelu: Gelu of a sum with a bias."""
    return functional.gelu(_with_bias(call))


def _with_bias(call: Call) -> Tensor:
    bias = call.get(1)
    return call[0] if bias is None else call[0] + bias


def quick_gelu(call: Call) -> Tensor:
    """QuickGelu: x sigmoid(alpha x)."""
    return call[0] * torch.sigmoid(call.attr("alpha", 1.702) * call[0])


def swish(call: Call) -> Tensor:
    """Swish: x sigmoid(alpha x)."""
    return call[0] * torch.sigmoid(call.attr("alpha", 1.0) * call[0])


def mish(call: Call) -> Tensor:
    """Mish."""
    return functional.mish(call[0])


def hard_sigmoid(call: Call) -> Tensor:
    """HardSigmoid: a line between 0 and 1."""
    return torch.clamp(call.attr("alpha", 0.2) * call[0] + call.attr("beta", 0.5), 0.0, 1.0)


def hard_swish(call: Call) -> Tensor:
    """HardSwish: x times a line of slope 1/6 between 0 and 1."""
    return call[0] * torch.clamp(call[0] / 6.0 + 0.5, 0.0, 1.0)


def softplus(call: Call) -> Tensor:
    """Softplus: log(1 + exp x), which torch replaces by x from 20 on unless told otherwise."""
    return torch.logaddexp(call[0], torch.zeros_like(call[0]))


def softsign(call: Call) -> Tensor:
    """Softsign."""
    return functional.softsign(call[0])


def shrink(call: Call) -> Tensor:
    """Shrink: what is near zero becomes zero, the rest comes nearer by a bias."""
    x, edge, bias = call[0], call.attr("lambd", 0.5), call.attr("bias", 0.0)
    zero = torch.zeros_like(x)
    return torch.where(x < -edge, x + bias, torch.where(x > edge, x - bias, zero))


def thresholded_relu(call: Call) -> Tensor:
    """ThresholdedRelu: what lies above a threshold, as it is."""
    x = call[0]
    return torch.where(x > call.attr("alpha", 1.0), x, torch.zeros_like(x))


OPERATORS: Family = {
    "Relu": relu,
    "Sigmoid": sigmoid,
    "Tanh": tanh,
    "LeakyRelu": leaky_relu,
    "PRelu": prelu,
    "Elu": elu,
    "Celu": celu,
    "Selu": selu,
    "Gelu": gelu,
    "com.microsoft::Gelu": gelu,
    "com.microsoft::FastGelu": fast_gelu,
    "com.microsoft::BiasGelu": bias_gelu,
    "com.microsoft::QuickGelu": quick_gelu,
    "Swish": swish,
    "Mish": mish,
    "HardSigmoid": hard_sigmoid,
    "HardSwish": hard_swish,
    "Softplus": softplus,
    "Softsign": softsign,
    "Shrink": shrink,
    "ThresholdedRelu": thresholded_relu,
}
