"""Re-fit the layers behind a cut, one after the other (sequential and asymmetric).

Each layer reads from the network as already cut and corrected, and aims at the original: at its own
output, or, where that runs into a sum whose other operand is already there, at the original sum
less the present operand, so that it also repairs what is wrong with that (He 2017; method 4.3).
A correction is kept only if it lowers the error on samples to which it was not fitted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from heapq import merge

import numpy as np
from onnx import ModelProto
from threadpoolctl import threadpool_limits

from onnxslim_snacs.ir.keep import KeepMap
from onnxslim_snacs.layers.aims import Aims
from onnxslim_snacs.layers.floated import Floated, back, floated
from onnxslim_snacs.layers.layers import Layer, NotFitted, changed_tensors, layers_of
from onnxslim_snacs.layers.twins import twin_keep, twin_of
from onnxslim_snacs.layers.walk import Walk, start_walk
from onnxslim_snacs.model.graph import ModelGraph
from onnxslim_snacs.ops.analyse import Analysis
from onnxslim_snacs.recovery.bilinear import Partner, find_partners
from onnxslim_snacs.recovery.correct import correct_layer
from onnxslim_snacs.recovery.feeding import start_feeding
from onnxslim_snacs.recovery.gates import GateTask, find_gates
from onnxslim_snacs.recovery.jobs import Cut, Job, LayerRecord, Method, Recovered, Runs
from onnxslim_snacs.recovery.tasks import Task, make_tasks


def recover(cut: Cut, method: Method) -> Recovered:
    """Correct a cut model layer by layer.

    Args:
        cut: the cut.
        method: how.
    """
    return recover_together([cut], method)[0]


def recover_together(cuts: Sequence[Cut], method: Method) -> list[Recovered]:
    """Correct several cuts of one model, beside a single run of the original.

    Each comes out as it would alone, but for rounding.

    Args:
        cuts: the cuts, of the same original and with the same samples.
        method: how.
    """
    return _recovered(cuts, method, range(len(cuts)))


def recover_among(cuts: Sequence[Cut], number: int, method: Method) -> Recovered:
    """Correct one of several cuts as `recover_together` does, to the last bit.

    The original runs in the same pieces, as the layers of all of them ask for it.

    Args:
        cuts: the cuts, of the same original and with the same samples.
        number: which of them.
        method: how.
    """
    return _recovered(cuts, method, (number,))[0]


def _recovered(cuts: Sequence[Cut], method: Method, chosen: Sequence[int]) -> list[Recovered]:
    """Those of the cuts that are chosen, corrected."""
    twin = None if cuts[0].aims is not None else twin_of(cuts[0].analysis)
    seen = [] if twin is None else [_twin_cut(cut, twin) for cut in cuts]
    known = [item for item in seen if item is not None]
    if len(known) != len(cuts):
        return _recover_together(cuts, method, chosen)
    found = _recover_together([cut for cut, _ in known], method, chosen)
    return [
        replace(one, model=back(cuts[k].model, one.model, known[k][1]))
        for k, one in zip(chosen, found, strict=True)
    ]


def _twin_cut(cut: Cut, twin: Analysis) -> tuple[Cut, Floated] | None:
    """A cut of a model with integer products as a cut of its float form."""
    keep = twin_keep(cut.analysis, twin, cut.keep)
    form = floated(ModelGraph(cut.model, cut.analysis.graph.base_dir))
    if keep is None or form is None:
        return None
    there = replace(
        cut, analysis=twin, keep=keep, model=form.model, unbiased=cut.unbiased | form.unbiased
    )
    return there, form


def _recover_together(
    cuts: Sequence[Cut], method: Method, chosen: Sequence[int]
) -> list[Recovered]:
    one = cuts[0]
    base_dir = one.analysis.graph.base_dir
    proto = one.analysis.graph.proto if one.aims is None else one.aims.model
    graphs = [ModelGraph(cut.model, base_dir) for cut in cuts]
    tasks = [
        tasks_of(cut.analysis, cut.keep, graph, wide=method.wide, sums=method.sums, aims=cut.aims)
        for cut, graph in zip(cuts, graphs, strict=True)
    ]
    wanted = _all(t.wants for several in tasks for t in _fitted(several))
    original = start_walk(proto, base_dir, one.session, wanted)
    jobs: dict[int, Job] = {}
    for k in chosen:
        cut, graph, todo = cuts[k], graphs[k], tasks[k]
        model = ModelProto()
        model.CopyFrom(cut.model)
        present = start_walk(model, base_dir, one.session, _all(t.reads for t in _fitted(todo)))
        rng = np.random.default_rng(cut.seed)
        jobs[k] = Job(cut, graph, todo, Runs(original, present), rng)
    walks = (original, *(job.runs.present for job in jobs.values()))
    feeding = start_feeding(one, walks, (task for several in tasks for task in several))
    total = sum(map(len, tasks))
    with threadpool_limits(limits=one.session.threads):
        for done, (k, task) in enumerate(_in_turn(tasks, original)):
            one.progress("recover", done, total)
            feeding.feed_for(task)
            job = jobs.get(k)
            if job is None:
                _pass_by(original, task)
            elif isinstance(task, NotFitted):
                job.records.append(LayerRecord(task.name, task.op, reason=task.reason))
            else:
                job.records.append(correct_layer(job, task, method))
    one.progress("recover", total, total)
    return [Recovered(job.runs.present.model, tuple(job.records)) for job in jobs.values()]


def _pass_by(original: Walk, task: Task | GateTask | NotFitted) -> None:
    """Run the original as far as a task needs it that others see to."""
    if isinstance(task, NotFitted):
        return
    original.require(task.wants)
    for name in task.wants:
        original.release(name)


def _fitted(tasks: Iterable[Task | GateTask | NotFitted]) -> list[Task | GateTask]:
    return [task for task in tasks if not isinstance(task, NotFitted)]


def _in_turn(
    tasks: Sequence[Sequence[Task | GateTask | NotFitted]], original: Walk
) -> Iterator[tuple[int, Task | GateTask | NotFitted]]:
    """(cut, task) of all, those of each cut in order, and the cuts as far as the original has run.

    What the original has made for one cut is then still there for the next.
    """
    lines = []
    for number, several in enumerate(tasks):
        reached, line = 0, []
        for task in several:
            names = () if isinstance(task, NotFitted) else task.wants
            reached = max(reached, *(original.producer.get(n, 0) for n in names), 0)
            line.append((reached, number, task))
        lines.append(line)
    for _, number, task in merge(*lines, key=lambda item: item[:2]):
        yield number, task


def _all(names: Iterable[Sequence[str]]) -> Iterator[str]:
    return (name for several in names for name in several)


def tasks_of(
    analysis: Analysis,
    keep: KeepMap,
    graph: ModelGraph,
    *,
    wide: bool,
    sums: bool,
    aims: Aims | None = None,
) -> list[Task | GateTask | NotFitted]:
    """The layers to correct: those with another input, and those with a partner that has lost.

    Args:
        analysis: the original.
        keep: what the plan keeps.
        graph: the cut model.
        wide: whether a layer's input is seen, see `Method`.
        sums: whether a layer may aim at the sum into which it runs.
        aims: what else has other values than in the original, see `Cut`.
    """
    everything = layers_of(analysis, keep, graph)
    changed = changed_tensors(analysis, keep) | (frozenset() if aims is None else aims.changed)
    gates: dict[str, list[GateTask]] = {}
    for gate in find_gates(analysis, keep, graph, changed):
        gates.setdefault(gate.name, []).append(gate)
    partners: dict[str, Partner] = {}
    if wide:
        layers = [layer for layer, _ in everything if isinstance(layer, Layer)]
        found = find_partners(analysis, keep, graph, layers)
        partners = {layer.out: partner for layer, partner in found}
    tasks = make_tasks(
        graph,
        analysis.facts,
        [layer for layer, out in everything if out in changed or out in partners],
        wide=wide,
        sums=sums,
        partners=partners,
    )
    return [
        one
        for task in tasks
        for one in (gates.get(task.name, [task]) if isinstance(task, NotFitted) else [task])
    ]
