"""Correct one layer of a cut."""

from __future__ import annotations

from dataclasses import replace
from time import perf_counter

from onnxslim_snacs.recovery.affine import (
    as_stored,
    followed,
    identity,
    is_retyped,
    scaled,
    unscaled,
)
from onnxslim_snacs.recovery.gates import GateTask, gather_gate
from onnxslim_snacs.recovery.gathered import gather
from onnxslim_snacs.recovery.jobs import Cut, Job, LayerRecord, Method
from onnxslim_snacs.recovery.regression import Regression, mirrored, narrowed
from onnxslim_snacs.recovery.tasks import Task
from onnxslim_snacs.recovery.write import write_affine, write_gate


def correct_layer(job: Job, task: Task | GateTask, method: Method) -> LayerRecord:
    """Correct one layer, if that brings it nearer to what it aims at.

    Args:
        job: the cut; its model gets the correction.
        task: the layer.
        method: how.
    """
    start = perf_counter()
    runs, graph = job.runs, job.graph
    runs.original.require(task.wants)
    runs.present.require(task.reads)
    rows = _regression(job, task, method)
    for walk, names in ((runs.original, task.wants), (runs.present, task.reads)):
        for name in names:
            walk.release(name)
    if rows is None or not 0 < rows.fit < rows.x.shape[1]:
        return LayerRecord(task.name, task.op, reason="too few samples to judge by")
    seen = task.now if method.wide else identity(task.scale.size)
    now = scaled(seen, task.scale)
    fixed = _is_unbiased(job.cut, task)
    rows = mirrored(rows) if fixed else rows
    then, judged = method.fit(rows, now), rows.held
    then = replace(then, bias=now.bias) if fixed else then
    if method.wide and isinstance(task, Task) and is_retyped(graph, task.layer):
        # judged as it will be in the type of the file
        kept = as_stored(graph, task.layer, unscaled(then, task.scale, seen))
        then = scaled(kept, task.scale)
    before, after = judged.error(now), judged.error(then)
    if after < before:
        fitted = unscaled(then, task.scale, seen)
        fitted = fitted if method.wide else followed(task.now, fitted)
        if isinstance(task, GateTask):
            write_gate(runs.present, graph, task, fitted)
        else:
            write_affine(runs.present, graph, task.layer, task.tail, task.now, fitted)
    seconds = perf_counter() - start
    return LayerRecord(
        name=task.name,
        op=task.op,
        target=task.target,
        before=before,
        after=after,
        kept=after < before,
        seconds=seconds,
    )


def _is_unbiased(cut: Cut, task: Task | GateTask) -> bool:
    """Whether there is no place for a bias, neither in a layer nor behind it."""
    return isinstance(task, Task) and task.layer.out in cut.unbiased and task.tail.bias is None


def _regression(job: Job, task: Task | GateTask, method: Method) -> Regression | None:
    cut, runs = job.cut, job.runs
    if isinstance(task, Task):
        return gather(task, cut.keep, runs.original, runs.present, job.rng, cut.effort)
    rows = gather_gate(task, cut.keep, runs.original, runs.present, job.rng, cut.effort)
    return rows if rows is None or method.wide else narrowed(rows, task.now)
