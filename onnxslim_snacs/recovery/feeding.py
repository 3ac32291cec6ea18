"""Which samples runs side by side are given, and when.

A layer that reads large maps has rows enough in a few samples.  So the runs begin with these; the
others join where layers need them, and come as far in one piece.  That is cheaper than going layer
by layer, and maps of all samples are never held where they are largest.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from numpy.typing import NDArray

from onnxslim_snacs.activations.run import batch_size
from onnxslim_snacs.layers.layers import NotFitted
from onnxslim_snacs.layers.walk import Walk
from onnxslim_snacs.recovery.gates import GateTask
from onnxslim_snacs.recovery.gathered import HELD_OUT, wanted_rows
from onnxslim_snacs.recovery.jobs import Cut
from onnxslim_snacs.recovery.tasks import Task

#: Output positions that there have to be for each row that is drawn: of one image they are alike.
POSITIONS = 4
#: Samples to begin with, at the least: as many as allocations are compared with, in which one seed
#: in six of ResNet-20 and ResNet-8 otherwise chose another one, for better and for worse.
LEAST = 64


@dataclass(slots=True)
class Feeding:
    """Samples on their way into some runs.

    Attributes:
        cut: one of the cuts, for its samples and its effort.
        walks: the runs.
        size: samples of a batch.
        fed: how many samples the runs have been given.
    """

    cut: Cut
    walks: Sequence[Walk]
    size: int
    fed: int = 0

    def feed_for(self, task: Task | GateTask | NotFitted) -> None:
        """Let the runs have as many samples as a layer needs, before it is seen to."""
        total = self.cut.source.samples
        needed = min(total, max(self.size * HELD_OUT, samples_for(task, self.cut)))
        if needed <= self.fed:
            return
        # few joins: what joins runs from the beginning
        upto = min(total, max(needed, 2 * self.fed))
        upto = total if 2 * upto > total else upto
        batches: list[dict[str, NDArray[Any]]] = []
        for batch in self.cut.source.part(self.fed, upto).batches(self.size):
            # batches that were filled up only if there are no others
            if batch.size == batch.filled or not (batches or self.fed):
                batches.append(batch.inputs)
        self.fed = upto
        for walk in self.walks if batches else ():
            walk.join(batches)


def start_feeding(
    cut: Cut, walks: Sequence[Walk], tasks: Iterable[Task | GateTask | NotFitted]
) -> Feeding:
    """Nothing is fed yet.

    Args:
        cut: one of the cuts, which have the samples in common.
        walks: runs of the original and of the cut models.
        tasks: all layers to come.
    """
    samples = cut.source.samples
    most = batch_size(cut.analysis.facts, cut.source, ())
    needs = [samples_for(task, cut) for task in tasks if not isinstance(task, NotFitted)]
    first = min(needs, default=samples)
    size = min(most, samples // (2 * HELD_OUT), first // HELD_OUT)
    return Feeding(cut, walks, max(1, size))


def samples_for(task: Task | GateTask | NotFitted, cut: Cut) -> int:
    """How many samples hold rows enough for a layer; all where that is not known."""
    if isinstance(task, NotFitted):
        return 0
    facts, samples = cut.analysis.facts, cut.source.samples
    made = () if isinstance(task, GateTask) else facts.samples(task.target)
    if not made or facts.first_batch is None:
        return samples
    assert isinstance(task, Task)
    positions = prod(made[0]) / max(1, made[0][task.layer.out_dim] * facts.first_batch)
    rows = wanted_rows(task.now.weight.shape[1], cut.effort) if task.wide else cut.effort.rows.most
    return max(LEAST, int(POSITIONS * rows / max(1e-9, positions)))
