"""The stored weights that go with a unit, and gradients for them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from onnxslim_snacs.activations.run import batch_size
from onnxslim_snacs.activations.sources import Batch
from onnxslim_snacs.ir.types import Axis, IntArray
from onnxslim_snacs.ops.analyse import Analysis
from onnxslim_snacs.scores.criterion import ScoreContext
from onnxslim_snacs.scores.unit_gates import Losses
from onnxslim_snacs.torch_graph.answers import answer_tensors, chosen
from onnxslim_snacs.torch_graph.late import torch
from onnxslim_snacs.torch_graph.network import Network, run
from onnxslim_snacs.torch_graph.threads import torch_threads

if TYPE_CHECKING:
    from torch import Tensor


def unit_weights(
    analysis: Analysis, trained: Collection[str], *, readers: bool = True
) -> list[tuple[str, Axis, IntArray]]:
    """(group, axis of a weight, (units, multiplicity) slots on it) of all weights.

    Args:
        analysis: the model.
        trained: names of the weights that count.
        readers: whether those count that read a unit, besides those that make it.
    """
    read = {sink.weight for part in analysis.parts() for _, sink in part.ir.sinks}
    return [
        (group.id, member.axis, member.index)
        for group in analysis.ir.groups
        for member in group.members
        if member.axis.tensor in trained and (readers or member.axis not in read)
    ]


def batch_losses(
    network: Network, losses: Losses, batch: Batch, temperature: float = 1.0
) -> Sequence[Tensor]:
    """The losses of a batch, with a graph behind them.

    Args:
        network: the model in torch.
        losses: of the answers to a batch.
        batch: the samples.
        temperature: by which answers are divided before.
    """
    names = answer_tensors(network.graph)
    found = run(network, batch.inputs, watched=names.values()).watched
    answers = {output: y / temperature for output, y in chosen(found, names).items()}
    return losses(answers, batch)


def summed_gradients(
    context: ScoreContext, network: Network, keys: Sequence[str], losses: Losses
) -> list[dict[str, Tensor]]:
    """For each loss weight -> its gradient, the mean over all samples, in the shape of the weight.

    Args:
        context: the model and its data.
        network: the model in torch.
        keys: the weights.
        losses: of a batch, each the sum over its samples.
    """
    weights = [network.values[key] for key in keys]
    size, total = batch_size(context.analysis.facts, context.source, []), context.source.samples
    sums: list[list[Tensor]] = []
    done = 0
    with torch_threads(context.session.threads):
        for batch in context.source.batches(size):
            values = batch_losses(network, losses, batch)
            sums = sums or [[torch.zeros_like(w) for w in weights] for _ in values]
            for number, loss in enumerate(values):
                more = number < len(values) - 1
                slopes = torch.autograd.grad(loss, weights, allow_unused=True, retain_graph=more)
                for sum_, slope in zip(sums[number], slopes, strict=True):
                    if slope is not None:
                        sum_ += slope / total
            done += batch.size
            context.progress("gradients", done, total)
    return [dict(zip(keys, each, strict=True)) for each in sums]
