"""Maps of activations, sample by sample, for criteria that look at their shape."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxslim_snacs.activations.requests import pooled_request
from onnxslim_snacs.activations.run import batch_size, execute, open_session, trimmed
from onnxslim_snacs.ir.types import Axis
from onnxslim_snacs.layers.moments import FloatArray
from onnxslim_snacs.scores.criterion import ScoreContext


@dataclass(frozen=True, slots=True)
class MapAxis:
    """A tensor whose maps are looked at.

    Attributes:
        axis: its channel axis.
        sample_dim: its sample axis.
    """

    axis: Axis
    sample_dim: int


def map_axes(context: ScoreContext, axes: Sequence[Axis]) -> list[MapAxis]:
    """The tensors among some axes whose maps can be told apart by sample."""
    facts, specs = context.analysis.facts, context.source.specs
    found = []
    for axis in dict.fromkeys(axes):
        request = pooled_request(facts, axis.tensor, axis.dim, specs)
        if request.sample_dim is not None:
            found.append(MapAxis(axis, request.sample_dim))
    return found


def mean_over_images(
    context: ScoreContext,
    wanted: Sequence[MapAxis],
    images: int,
    measure: Callable[[MapAxis, NDArray[Any]], FloatArray],
) -> dict[Axis, FloatArray]:
    """Axis -> (whatever the measure gives,) its mean over the first images.

    Args:
        context: the model and its samples.
        wanted: tensors.
        images: how many samples at the most.
        measure: a tensor and its values (samples, channels, positions...) -> (samples, ...).
    """
    sums: dict[Axis, FloatArray] = {}
    rows: dict[Axis, int] = {}
    for values in _batches(context, wanted, images):
        for item in wanted:
            measured = measure(item, values[item.axis])
            sums[item.axis] = sums.get(item.axis, 0.0) + measured.sum(axis=0)
            rows[item.axis] = rows.get(item.axis, 0) + len(measured)
    return {axis: np.asarray(total / rows[axis]) for axis, total in sums.items()}


def _batches(
    context: ScoreContext, wanted: Sequence[MapAxis], images: int
) -> Iterator[Mapping[Axis, NDArray[Any]]]:
    """Axis -> (samples, channels, positions...) of each batch."""
    if not wanted:
        return
    analysis, graph = context.analysis, context.analysis.graph
    source = context.source.part(0, min(images, context.source.samples))
    tensors = list(dict.fromkeys(item.axis.tensor for item in wanted))
    inner = [name for name in tensors if name not in graph.outputs and name not in graph.inputs]
    session = open_session(graph.proto, context.session, graph.base_dir, inner)
    asked = [name for name in tensors if name not in graph.inputs]
    done = 0
    for batch in source.batches(batch_size(analysis.facts, source, tensors)):
        made = dict(zip(asked, execute(session, asked, batch.inputs), strict=True))
        made.update({name: batch.inputs[name] for name in tensors if name in graph.inputs})
        values = {name: trimmed(array, batch) for name, array in made.items()}
        yield {
            item.axis: np.moveaxis(
                values[item.axis.tensor], (item.sample_dim, item.axis.dim), (0, 1)
            )
            for item in wanted
        }
        done += batch.size
        context.progress("maps", done, source.samples)
