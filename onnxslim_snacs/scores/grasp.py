"""GraSP (method 6.2): how much less the gradient flows when a weight goes.

The score of a weight (Wang, Zhang, Grosse 2020) is -theta (H g), with g the gradient of the loss
and H g its Hessian times g, and weights with the largest scores go; a unit's is the sum over its
filters, and with the sign turned, higher means keep.  g is summed over all samples first, and then
H g as well: the released code takes the gradient of all batches but the Hessian of one at a time.
It is meant for networks before training; at a minimum g is nearly zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from onnxslim_snacs.activations.run import batch_size
from onnxslim_snacs.activations.sources import Batch
from onnxslim_snacs.layers.moments import FloatArray
from onnxslim_snacs.ops.analyse import Analysis
from onnxslim_snacs.scores.criterion import Criterion, Option, ScoreContext, ScoreResult
from onnxslim_snacs.scores.fallback import completed
from onnxslim_snacs.scores.losses import LOSS, choose_losses
from onnxslim_snacs.scores.magnitude import producing_axes
from onnxslim_snacs.scores.parts import NORMALISE, REDUCE, Part, together
from onnxslim_snacs.scores.unit_gates import Losses, device_of
from onnxslim_snacs.scores.unit_weights import batch_losses
from onnxslim_snacs.torch_graph.late import torch
from onnxslim_snacs.torch_graph.network import Network, open_network
from onnxslim_snacs.torch_graph.threads import torch_threads

if TYPE_CHECKING:
    from torch import Tensor

#: The paper divides the answers by this, which keeps the softmax from being sure of itself.
TEMPERATURE = 200.0


def _read_temperature(text: str) -> float:
    number = float(text)
    if not 0.0 < number < np.inf:
        raise ValueError("expected a positive number")
    return number


def grasp(
    context: ScoreContext,
    loss: str = "auto",
    temperature: float = TEMPERATURE,
    reduce: str = "sum",
    normalise: str = "none",
) -> ScoreResult:
    """Sum of theta (H g) over each unit's filters."""
    analysis = context.analysis
    name, losses = choose_losses(context, loss, draws=1, shared=True)
    network = open_network(analysis.graph, device=device_of(context))
    axes = {axis: axis.tensor for axis in producing_axes(analysis)}
    keys = [key for key in dict.fromkeys(axes.values()) if key in network.trained]
    with torch_threads(context.session.threads):
        curved = _hessian_gradient(context, network, keys, losses, temperature)
    products = {
        key: (network.values[key].detach() * value).double().cpu().numpy()
        for key, value in curved.items()
    }
    return completed(context, _of_units(analysis, products, reduce, normalise), loss=name)


def _hessian_gradient(
    context: ScoreContext,
    network: Network,
    keys: list[str],
    losses: Losses,
    temperature: float,
) -> dict[str, Tensor]:
    """Weight -> H g, both summed over all samples."""
    weights = [network.values[key] for key in keys]
    size = batch_size(context.analysis.facts, context.source, [])
    total = context.source.samples

    def loss_of(batch: Batch) -> Tensor:
        return torch.stack(list(batch_losses(network, losses, batch, temperature))).sum() / total

    gradient = [torch.zeros_like(w) for w in weights]
    for batch in context.source.batches(size):
        parts = torch.autograd.grad(loss_of(batch), weights, allow_unused=True)
        gradient = [g if p is None else g + p for g, p in zip(gradient, parts, strict=True)]
    curved = [torch.zeros_like(w) for w in weights]
    done = 0
    for batch in context.source.batches(size):
        slopes = torch.autograd.grad(loss_of(batch), weights, create_graph=True, allow_unused=True)
        along = [(s * g).sum() for s, g in zip(slopes, gradient, strict=True) if s is not None]
        inner = torch.stack(along).sum()
        if inner.requires_grad:
            parts = torch.autograd.grad(inner, weights, allow_unused=True)
            curved = [c if p is None else c + p for c, p in zip(curved, parts, strict=True)]
        done += batch.size
        context.progress("gradients", done, total)
    return dict(zip(keys, curved, strict=True))


def _of_units(
    analysis: Analysis, products: Mapping[str, FloatArray], reduce: str, normalise: str
) -> dict[str, FloatArray]:
    """Group -> (units,) of the filters that make each unit, each filter summed."""
    found: dict[str, list[Part]] = {}
    axes = [axis for axis in producing_axes(analysis) if axis.tensor in products]
    for group in analysis.ir.groups:
        for axis in axes:
            index = group.on(axis)
            if index is None:
                continue
            values = np.moveaxis(products[axis.tensor], axis.dim, 0)
            part = values.reshape(len(values), -1).sum(axis=1)[index].sum(axis=1)
            found.setdefault(group.id, []).append(Part(part))
    return {group: together(parts, reduce, normalise) for group, parts in found.items()}


GRASP = Criterion(
    "grasp",
    "how much the flow of gradients suffers as a unit goes (Wang et al. 2020), before training",
    grasp,
    needs=("weights", "gradients", "labels"),
    options=(
        LOSS,
        Option("temperature", _read_temperature, "by which answers are divided"),
        REDUCE,
        NORMALISE,
    ),
)
