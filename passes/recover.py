"""Re-fit the layers behind a cut, one after the other (sequential and asymmetric).

Each layer reads from the network as already cut and corrected, and aims at the original: at its own
output, or, where that runs into a sum whose other operand is already there, at the original sum
less the present operand, so that it also repairs what is wrong with that (He 2017; methods 5.7).
A correction is kept only if it lowers the error on samples to which it was not fitted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from time import perf_counter

import numpy as np
from onnx import ModelProto
from threadpoolctl import threadpool_limits

from onnxslim_snacs.activations.sources import CalibrationSource
from onnxslim_snacs.ir.keep import KeepMap
from onnxslim_snacs.model.graph import ModelGraph
from onnxslim_snacs.model.session import SessionConfig
from onnxslim_snacs.ops.analyse import Analysis
from onnxslim_snacs.passes.refit import read_affine, write_affine
from onnxslim_snacs.recovery.layers import Layer, NotFitted, find_layers, restrict
from onnxslim_snacs.recovery.moments import (
    FloatArray,
    Moments,
    Rows,
    Sums,
    add_rows,
    empty_sums,
    merged,
    moments,
)
from onnxslim_snacs.recovery.rows import layer_rows, target_rows
from onnxslim_snacs.recovery.solve import Affine
from onnxslim_snacs.recovery.tail import Tail, follow
from onnxslim_snacs.recovery.walk import Walk, reads, start_walk
from onnxslim_snacs.scores.criterion import Progress, silent

#: Rows of a layer's regression, drawn from all output positions of all samples.
ROWS = 1 << 17
#: Numbers that the rows of one step may hold.
CHUNK = 1 << 26
#: One batch in so many is not fitted to, but judged by.
HELD_OUT = 5
#: Features beyond which a layer's Gram matrix is too big.
FEATURES = 4608

Candidate = Callable[[Moments, FloatArray], Affine]


@dataclass(frozen=True, slots=True)
class Method:
    """A way to correct a layer.

    Attributes:
        name: what the user types.
        maps: candidates that see the layer's input: (moments, weights) -> affine map.
        scalings: candidates that see each output channel of the layer by itself.
        sums: whether a layer may aim at the sum into which it runs.
    """

    name: str
    maps: tuple[Candidate, ...] = ()
    scalings: tuple[Candidate, ...] = ()
    sums: bool = True


@dataclass(frozen=True, slots=True)
class LayerRecord:
    """What happened to one layer.

    Attributes:
        name: of its node.
        op: its operator.
        target: the tensor of the original at which it aims; "" if it was not tried.
        before: squared error on held-out rows, relative to the variance of the target.
        after: the same for the correction.
        kept: whether the correction was kept.
        seconds: time.
        reason: why it was not tried.
    """

    name: str
    op: str
    target: str = ""
    before: float | None = None
    after: float | None = None
    kept: bool = False
    seconds: float = 0.0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Recovered:
    """A corrected model.

    Attributes:
        model: the model.
        layers: what happened to each layer.
    """

    model: ModelProto
    layers: tuple[LayerRecord, ...]


@dataclass(frozen=True, slots=True)
class Cut:
    """A cut, and what there is to recover from it with.

    Attributes:
        analysis: the original.
        keep: what the plan keeps.
        model: the cut model.
        source: calibration data.
        session: how to run the models.
        seed: for the choice of rows.
        progress: told (stage, done, total).
    """

    analysis: Analysis
    keep: KeepMap
    model: ModelProto
    source: CalibrationSource
    session: SessionConfig = field(default_factory=SessionConfig)
    seed: int = 0
    progress: Progress = silent


@dataclass(frozen=True, slots=True)
class _Task:
    """A layer to correct.

    Attributes:
        layer: the layer.
        tail: what follows it.
        now: what it computes.
        other: the operand that is taken off the target, None if the target is its own output.
        target: the tensor of the original at which it aims.
        wide: whether the regression sees the layer's input or its output.
    """

    layer: Layer
    tail: Tail
    now: Affine
    other: str | None
    target: str
    wide: bool


def recover(cut: Cut, method: Method) -> Recovered:
    """Correct a cut model layer by layer.

    Args:
        cut: the cut.
        method: how.
    """
    model = ModelProto()
    model.CopyFrom(cut.model)
    base_dir = cut.analysis.graph.base_dir
    graph = ModelGraph(cut.model, base_dir)
    found = find_layers(cut.analysis, cut.keep, graph)
    tasks, records = _plan(graph, found, method)
    original = start_walk(
        cut.analysis.graph.proto, base_dir, cut.session, (t.target for t in tasks)
    )
    inputs = [t.layer.data for t in tasks]
    others = [t.other for t in tasks if t.other is not None]
    present = start_walk(model, base_dir, cut.session, [*inputs, *others])
    _feed(cut.source, original, present)
    rng = np.random.default_rng(cut.seed)
    with threadpool_limits(limits=cut.session.threads):
        for number, task in enumerate(tasks):
            cut.progress("recover", number, len(tasks))
            records.append(_correct(cut, graph, task, method, original, present, rng))
    cut.progress("recover", len(tasks), len(tasks))
    return Recovered(model, tuple(records))


def _plan(
    graph: ModelGraph, found: Sequence[Layer | NotFitted], method: Method
) -> tuple[list[_Task], list[LayerRecord]]:
    tasks, records = [], []
    later = {layer.position for layer in found if isinstance(layer, Layer)}
    for layer in found:
        if isinstance(layer, NotFitted):
            records.append(LayerRecord(layer.name, layer.op, reason=layer.reason))
            continue
        now = read_affine(graph, layer)
        if now is None:
            reason = "its bias differs along more than its channels"
            records.append(LayerRecord(layer.name, layer.op, reason=reason))
            continue
        tail = follow(graph, layer)
        summed = method.sums and tail.other is not None and _is_there(graph, layer, tail, later)
        wide = bool(method.maps) and now.weight.shape[1] <= FEATURES
        tasks.append(
            _Task(
                layer=layer,
                tail=tail,
                now=now,
                other=tail.other if summed else None,
                target=tail.total if summed and tail.total else layer.out,
                wide=wide,
            )
        )
        later.discard(layer.position)
    return tasks, records


def _is_there(graph: ModelGraph, layer: Layer, tail: Tail, later: set[int]) -> bool:
    """Whether the other operand of the sum follows from layers that are corrected before."""
    assert tail.other is not None
    start = graph.producer.get(tail.other)
    if start is None:
        return tail.other in graph.inputs
    stack, seen = [start], set[int]()
    while stack:
        position = stack.pop()
        if position in later:
            return False
        if position < layer.position or position in seen:
            continue  # the nodes are in order: nothing before the layer depends on it
        seen.add(position)
        sources = (graph.producer.get(name) for name in reads(graph.nodes[position]))
        stack.extend(source for source in sources if source is not None)
    return True


def _feed(source: CalibrationSource, *walks: Walk) -> None:
    """Hand the samples to both runs; batches that were filled up only if there are no others."""
    size = max(1, min(32, source.samples // (2 * HELD_OUT)))
    for batch in source.batches(size):
        if batch.size < batch.filled and walks[0].batches:
            continue
        for walk in walks:
            walk.feed(batch.inputs)


def _correct(
    cut: Cut,
    graph: ModelGraph,
    task: _Task,
    method: Method,
    original: Walk,
    present: Walk,
    rng: np.random.Generator,
) -> LayerRecord:
    start = perf_counter()
    layer = task.layer
    original.require([task.target])
    read = [layer.data]
    if task.other is not None:
        read.append(task.other)
    present.require(read)
    sums = _sums(cut, task, original, present, rng)
    original.release(task.target)
    for name in read:
        present.release(name)
    if sums is None:
        return LayerRecord(layer.name, layer.op, reason="too few samples to judge by")
    candidates = method.maps if task.wide else method.scalings
    now = task.now if task.wide else _identity(layer)
    weight = now.weight
    importance = task.tail.scale.reshape(now.bias.shape) ** 2
    fit, held = (moments(s) for s in sums)
    total = float((importance * held.tt).sum()) or 1.0
    before = float((importance * held.error(weight, now.bias)).sum()) / total
    errors = []
    for candidate in candidates:
        tried = candidate(fit, weight)
        errors.append(float((importance * held.error(tried.weight, tried.bias)).sum()) / total)
    best = int(np.argmin(errors))
    kept = errors[best] < before
    if kept:
        then = candidates[best](moments(merged(*sums)), weight)
        then = then if task.wide else _scaled(task.now, then)
        write_affine(present, graph, layer, task.tail, task.now, then)
    return LayerRecord(
        layer.name,
        layer.op,
        task.target,
        before,
        errors[best],
        kept,
        perf_counter() - start,
    )


def _identity(layer: Layer) -> Affine:
    return Affine(np.ones((layer.outputs, 1, 1)), np.zeros((layer.outputs, 1)))


def _scaled(now: Affine, step: Affine) -> Affine:
    """A layer followed by a scale and a shift of each output."""
    scale, shift = (a.reshape(now.bias.shape) for a in (step.weight, step.bias))
    return Affine(now.weight * scale[:, None, :], now.bias * scale + shift)


def _sums(
    cut: Cut, task: _Task, original: Walk, present: Walk, rng: np.random.Generator
) -> tuple[Sums, Sums] | None:
    """Sums over the rows to fit and over those to judge by; None if either has none."""
    fit = held = None
    for number, (x, t) in enumerate(_rows(cut, task, original, present, rng)):
        if fit is None or held is None:
            fit, held = empty_sums(x, t), empty_sums(x, t)
            held.shift_x, held.shift_t = fit.shift_x, fit.shift_t
        if original.batches >= HELD_OUT:
            add_rows(held if number % HELD_OUT == HELD_OUT - 1 else fit, x, t)
            continue
        cutoff = x.shape[1] - max(1, x.shape[1] // HELD_OUT)
        add_rows(fit, x[:, :cutoff], t[:, :cutoff])
        add_rows(held, x[:, cutoff:], t[:, cutoff:])
    if fit is None or held is None or not fit.rows or not held.rows:
        return None
    return fit, held


def _rows(
    cut: Cut, task: _Task, original: Walk, present: Walk, rng: np.random.Generator
) -> Iterator[tuple[Rows, Rows]]:
    """Features (g, rows, d) and targets (g, rows, o) of each batch."""
    layer = task.layer
    cap = max(1, ROWS // original.batches)
    groups = task.now.weight.shape[0] if task.wide else layer.outputs
    peeked = iter(()) if task.wide else present.peek(layer.out)
    for number in range(original.batches):
        wanted = restrict(np.asarray(original.live[task.target][number]), task.target, cut.keep)
        positions = wanted.size // layer.outputs
        chosen = np.sort(rng.permutation(positions)[:cap])
        t = target_rows(wanted, layer.out_dim, groups, chosen)
        if task.other is not None:
            other = np.broadcast_to(present.live[task.other][number], wanted.shape)
            t = t - target_rows(other, layer.out_dim, groups, chosen)
            scale, shift = (
                v.astype(np.float32).reshape(groups, 1, -1)
                for v in (task.tail.scale, task.tail.shift)
            )
            t = (t - shift) / np.where(scale == 0, 1, scale)
        if task.wide:
            x = np.asarray(present.live[layer.data][number])
            yield layer_rows(layer, present.node(layer.out), x, wanted.shape, chosen), t
        else:
            yield target_rows(next(peeked), layer.out_dim, groups, chosen), t
