"""Statistics of BatchNormalization, taken anew for weights that have changed.

While they are taken each batch is normalised by its own mean and variance, layer behind layer, as
in training; what is stored are mean and variance of all batches together (Wu and Johnson 2021,
arXiv:2105.07576, section 3).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from onnxslim_snacs.activations.sources import CalibrationSource
from onnxslim_snacs.torch_graph.late import torch
from onnxslim_snacs.torch_graph.network import Network, run
from onnxslim_snacs.torch_graph.program import Step

if TYPE_CHECKING:
    from torch import Tensor

#: Samples that statistics are taken of; more change the third digit.
MOST = 2000
#: Position of a node -> the names of its stored mean and variance.
_Places = Mapping[int, tuple[str, str]]


def statistics_anew(
    network: Network, weights: Mapping[str, Tensor], source: CalibrationSource, size: int
) -> dict[str, Tensor]:
    """Means and variances by key, of each BatchNormalization of the top-level graph.

    Args:
        network: the model.
        weights: in the place of its own.
        source: samples as they are when the model is used.
        size: samples in a batch; a last one that is smaller is left out.

    Returns:
        Empty if the model has no such statistics.
    """
    places = dict(_places(network))
    if not places:
        return {}
    measured = _measuring(network, places)
    means: dict[str, Tensor] = {}
    squares: dict[str, Tensor] = {}
    with torch.no_grad():
        for count, found in enumerate(_found(measured, places, weights, source, size), 1):
            for (mean_of, var_of), (mean, var) in found:
                first = mean_of not in means
                means[mean_of] = mean if first else means[mean_of].lerp(mean, 1 / count)
                raw = var + mean.square()
                squares[var_of] = raw if first else squares[var_of].lerp(raw, 1 / count)
        anew = dict(means)
        for mean_of, var_of in places.values():
            anew[var_of] = (squares[var_of] - means[mean_of].square()).clamp(min=0.0)
    keys = {name: network.program.stored[name] for name in anew}
    return {keys[name]: value.to(network.values[keys[name]]) for name, value in anew.items()}


def _found(
    measured: Network,
    places: _Places,
    weights: Mapping[str, Tensor],
    source: CalibrationSource,
    size: int,
) -> Iterator[list[tuple[tuple[str, str], tuple[Tensor, Tensor]]]]:
    """For each batch, of each node: names of mean and variance, and the two in double precision."""
    watched = [_watched(name) for pair in places.values() for name in pair]
    size = min(source.fixed_batch or size, source.samples)
    for batch in source.part(0, min(MOST, source.samples)).batches(size):
        if batch.size < size:
            continue
        seen = run(measured, batch.inputs, values=weights, watched=watched).watched
        found = []
        for pair in places.values():
            mean, var = (seen[_watched(name)] for name in pair)
            assert isinstance(mean, torch.Tensor)
            assert isinstance(var, torch.Tensor)
            found.append((pair, (mean.double(), var.double())))
        yield found


def _watched(name: str) -> str:
    """Under which name a statistic of the batch is an output of its node."""
    return f"anew:{name}"


def _places(network: Network) -> Iterator[tuple[int, tuple[str, str]]]:
    """Nodes that normalise channels by stored statistics.

    One that several nodes read is left alone, for it cannot be right for all.
    """
    readers: dict[str, int] = {}
    for step in network.program.steps:
        for name in step.inputs:
            readers[name] = readers.get(name, 0) + 1
    for step in network.program.steps:
        if step.op != "BatchNormalization" or not _by_stored(step):
            continue
        mean, var = step.inputs[3:5]
        if all(name in network.program.stored and readers[name] == 1 for name in (mean, var)):
            yield step.position, (mean, var)


def _by_stored(step: Step) -> bool:
    """Whether one mean and variance a channel are stored."""
    whole = step.opset >= 9 or step.attributes.get("spatial", 1) != 0
    return whole and not step.attributes.get("training_mode", 0)


def _measuring(network: Network, places: _Places) -> Network:
    """The model with statistics of the batch, which are outputs of their nodes."""
    steps = tuple(
        replace(
            step,
            attributes={**step.attributes, "training_mode": 1, "momentum": 0.0},
            outputs=(step.outputs[0], *map(_watched, places[step.position])),
        )
        if step.position in places
        else step
        for step in network.program.steps
    )
    return replace(network, program=replace(network.program, steps=steps))
