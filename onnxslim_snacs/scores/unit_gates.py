"""Gates: a factor of one on every unit, where its readers sum over it, and its gradient.

A cut takes a unit out of every sum over its axis.  The derivative of a loss for a factor c on the
unit at all these places is z = sum of a dL/da over them, over the pixels and tokens as well, with
dL/da that of the way through the reader alone (a residual stream goes on behind it).  Summing over
all readers comes before any square or absolute value, for the unit goes everywhere at once; the
statistics of normalisations are constants, in front of which a gate in training would say nothing
(method 6.1).

Weights that a loop reads again (the recurrence of an LSTM) hold no samples: only what leaves the
layer counts there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from onnxslim_snacs.activations.run import batch_size
from onnxslim_snacs.activations.sources import Batch
from onnxslim_snacs.ir.types import IntArray
from onnxslim_snacs.layers.moments import FloatArray
from onnxslim_snacs.ops.analyse import Analysis
from onnxslim_snacs.scores.criterion import Option, ScoreContext
from onnxslim_snacs.scores.parts import REDUCTIONS, Part, one_of, together
from onnxslim_snacs.torch_graph.answers import answer_tensors, chosen
from onnxslim_snacs.torch_graph.late import torch
from onnxslim_snacs.torch_graph.network import Edge, Network, open_network, run
from onnxslim_snacs.torch_graph.threads import torch_threads

if TYPE_CHECKING:
    from torch import Tensor

#: Answers by output, and the samples -> the losses that are differentiated, each a sum over
#: samples, one after the other.
Losses = Callable[[Mapping[str, "Tensor"], Batch], Sequence["Tensor"]]


@dataclass(frozen=True, slots=True)
class Gate:
    """A sum over an axis on which units lie.

    Attributes:
        edge: the input of the node that sums.
        tensor: its name.
        dim: the axis.
        period: slots of the axis if it is a whole multiple of them, else 0.
        groups: group -> (units, multiplicity) slots.
    """

    edge: Edge
    tensor: str
    dim: int
    period: int
    groups: Mapping[str, IntArray]


def find_gates(analysis: Analysis) -> list[Gate]:
    """The sums over channels of the top-level graph."""
    found = []
    for position, sink in analysis.ir.sinks:
        on_axis = {g.id: g.on(sink.axis) for g in analysis.ir.groups}
        groups = {name: index for name, index in on_axis.items() if index is not None}
        if not groups or analysis.facts.is_weight(sink.axis.tensor):
            continue
        period = analysis.ir.periods.get(sink.axis, 0)
        edge = (position, sink.input)
        found.append(Gate(edge, sink.axis.tensor, sink.axis.dim, period, groups))
    return found


#: A group, and the number of the gate among its gates (0 where they are summed).
Gated = tuple[str, int]
REDUCE_GATES = Option(
    "reduce",
    one_of("gate", *REDUCTIONS),
    "gate: one for all readers of a unit; or how those of single readers become one: "
    + ", ".join(REDUCTIONS),
)


def gate_products(
    context: ScoreContext, losses: Losses, *, mean: bool = False, apart: bool = False
) -> Iterator[list[dict[Gated, FloatArray]]]:
    """Gradients of gates, batch by batch.

    Args:
        context: the model and its samples.
        losses: what is differentiated.
        mean: take the mean over the pixels of each reader instead of the sum (Molchanov 2016).
        apart: keep the gates of different readers apart.

    Yields:
        For each loss (group, gate) -> (samples, units) z; where samples cannot be told apart, one
        row for all of a batch.

    Raises:
        InputRefused: torch lacks an operator of the model.
    """
    analysis, source = context.analysis, context.source
    gates = find_gates(analysis)
    if not gates:
        return
    network = open_network(analysis.graph, device=device_of(context))
    names = answer_tensors(network.graph)
    size = batch_size(analysis.facts, source, [gate.tensor for gate in gates])
    if not _samples_lead(analysis, gates) and source.fixed_batch is None:
        size = 1
    done = 0
    with torch_threads(context.session.threads):
        for batch in source.batches(size):
            yield _of_batch(network, names, gates, batch, losses, mean=mean, apart=apart)
            done += batch.size
            context.progress("gradients", done, source.samples)


def device_of(context: ScoreContext) -> str:
    """Where torch computes."""
    return "cuda" if context.session.provider == "cuda" else "cpu"


def _of_batch(
    network: Network,
    names: Mapping[str, str],
    gates: Sequence[Gate],
    batch: Batch,
    losses: Losses,
    *,
    mean: bool,
    apart: bool,
) -> list[dict[Gated, FloatArray]]:
    frozen = {key: value.detach() for key, value in network.values.items()}
    edges = [gate.edge for gate in gates]
    found = run(network, batch.inputs, values=frozen, watched=names.values(), edges=edges)
    gates = [gate for gate in gates if gate.edge in found.edges]
    read = [found.edges[gate.edge] for gate in gates]
    values = losses(chosen(found.watched, names), batch)
    products = []
    for number, loss in enumerate(values):
        last = number == len(values) - 1
        slopes: Sequence[Tensor | None] = torch.autograd.grad(
            loss, read, allow_unused=True, retain_graph=not last
        )
        z: dict[Gated, FloatArray] = {}
        for place, (gate, value, slope) in enumerate(zip(gates, read, slopes, strict=True)):
            if slope is None:
                continue
            slots = _by_slot(gate, value.detach() * slope, batch, mean=mean)
            for group, index in gate.groups.items():
                key = (group, place if apart else 0)
                part = slots[:, index].sum(axis=2)
                z[key] = z[key] + part if key in z else part
        products.append(z)
    return products


def _by_slot(gate: Gate, product: Tensor, batch: Batch, *, mean: bool) -> FloatArray:
    """(samples, slots) sums over everything but samples and channels."""
    moved = product.movedim(gate.dim, -1)
    if gate.period:
        moved = moved.reshape(*moved.shape[:-1], -1, gate.period)
    slots = moved.shape[-1]
    rows = batch.filled if gate.dim != 0 and product.shape[0] % batch.filled == 0 else 1
    flat = moved.reshape(rows, -1, slots).double()
    summed = flat.mean(1) if mean else flat.sum(1)
    found: FloatArray = summed.cpu().numpy()
    return found[: batch.size] if rows > 1 else found


def _samples_lead(analysis: Analysis, gates: Sequence[Gate]) -> bool:
    """Whether the first dimension of every gate grows with the samples."""
    for shapes in analysis.facts.shapes:
        samples = {shapes[name][0] for name in analysis.graph.inputs if shapes[name]}
        for gate in gates:
            first = shapes.get(gate.tensor, (0,))[0]
            if gate.dim == 0 or not samples or any(first % n for n in samples if n):
                return False
    return True


def mean_over_samples(
    context: ScoreContext,
    losses: Losses,
    measure: Callable[[FloatArray], FloatArray],
    *,
    mean: bool = False,
    reduce: str = "gate",
    normalise: str = "none",
) -> dict[str, FloatArray]:
    """Group -> (units,) mean over samples and losses of a measure of z.

    Args:
        context: the model and its samples.
        losses: what is differentiated.
        measure: (samples, units) -> (samples, units).
        mean: of `gate_products`.
        reduce: "gate" sums z over the readers before it is measured; else what single readers say
            is reduced.
        normalise: how the values of a group, or of a reader, are scaled.
    """
    apart = reduce != "gate"
    sums: dict[Gated, FloatArray] = {}
    rows: dict[Gated, int] = {}
    for products in gate_products(context, losses, mean=mean, apart=apart):
        for z in products:
            for key, values in z.items():
                sums[key] = sums.get(key, 0.0) + measure(values).sum(axis=0)
                rows[key] = rows.get(key, 0) + len(values)
    means = {key: np.asarray(total / rows[key]) for key, total in sums.items()}
    return of_gates(means, reduce, normalise)


def of_gates(
    means: Mapping[Gated, FloatArray], reduce: str, normalise: str
) -> dict[str, FloatArray]:
    """Group -> (units,) what its gates say together."""
    parts: dict[str, list[Part]] = {}
    for (group, _), values in means.items():
        parts.setdefault(group, []).append(Part(values))
    how = "sum" if reduce == "gate" else reduce
    return {group: together(several, how, normalise) for group, several in parts.items()}
