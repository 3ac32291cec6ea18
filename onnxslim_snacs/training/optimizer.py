"""AdamW whose steps and whose gradients are counted in the units of each tensor (method 6.3)."""

from __future__ import annotations

from onnxslim_snacs.config import FinetuneConfig
from onnxslim_snacs.torch_graph.late import torch
from onnxslim_snacs.torch_graph.network import Network

#: Root mean square of usual weights, for which the learning rate is meant, and the least one of
#: filters and of vectors: biases may all be zero, and shift activations of about one.
_USUAL, _LEAST_FILTER, _LEAST_VECTOR = 0.05, 1e-5, 0.02


def open_optimizer(network: Network, config: FinetuneConfig) -> torch.optim.AdamW:
    """Vectors do not decay; the rate goes by the size of a tensor's numbers.

    Adam's steps have the size of the rate, whatever a tensor's unit is: filters that read pixels
    of 0 ... 255 would be lost in one step, and stored bytes would not move.
    """
    groups = []
    for value in network.parameters.values():
        decay = config.decay if value.ndim > 1 else 0.0
        size = float(value.detach().square().mean().sqrt())
        least = _LEAST_FILTER if value.ndim > 1 else _LEAST_VECTOR
        scale = max(size, least) / _USUAL
        groups.append({"params": [value], "weight_decay": decay, "scale": scale})
    return torch.optim.AdamW(groups, lr=config.rate)


def cut_gradients(optimizer: torch.optim.AdamW, most: float) -> None:
    """Shorten all gradients alike, if they are too long in the units of their tensors."""
    parts = [
        (value.grad, group["scale"])
        for group in optimizer.param_groups
        for value in group["params"]
        if value.grad is not None
    ]
    length = torch.stack([gradient.norm() * scale for gradient, scale in parts]).norm()
    factor = (most / (length + 1e-12)).clamp(max=1.0)
    for gradient, _ in parts:
        gradient.mul_(factor)
