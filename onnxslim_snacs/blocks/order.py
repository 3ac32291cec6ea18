"""In which order blocks go.

By what each adds: its energy statistics, which ask nothing of the rest of the model.  Or by error,
one after the other: what the outputs lose when a block goes beside those that went already, with
the layers re-fitted that answer for what is gone, for each multiply-accumulate that it saves.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import inf

import numpy as np
from numpy.typing import NDArray

from onnxslim_snacs.activations.run import batch_size, execute, open_session, trimmed
from onnxslim_snacs.activations.samples import Samples
from onnxslim_snacs.activations.sources import CalibrationSource
from onnxslim_snacs.blocks.energies import class_energy, distance_correlation, distances, shrunk
from onnxslim_snacs.blocks.left import without_blocks
from onnxslim_snacs.config import CompressConfig
from onnxslim_snacs.errors import InputRefused, foreign
from onnxslim_snacs.ir.keep import KeepMap
from onnxslim_snacs.judge.judge import Judge, open_judge
from onnxslim_snacs.layers.branches import Branch
from onnxslim_snacs.plan.work import Work
from onnxslim_snacs.recovery.effort import LIGHT
from onnxslim_snacs.recovery.jobs import Cut
from onnxslim_snacs.recovery.methods import least_squares_method
from onnxslim_snacs.recovery.recover import recover

#: Samples between which distances are taken, and by which errors are judged.
DISTANCES, JUDGED = 512, 128
#: Samples between which a distance correlation is defined.
LEAST = 4
#: Numbers of a sample of which distances are taken, and bytes that they may take at once.
NUMBERS, MEMORY = 1 << 14, 1 << 28


def blocks_in_order(
    work: Work, config: CompressConfig, branches: Sequence[Branch], samples: Samples, judge: Judge
) -> Iterator[Branch]:
    """The blocks of a model, what matters least first.

    Args:
        work: the model.
        config: which order was asked for.
        branches: the blocks.
        samples: to look at, and to judge by.
        judge: compares with the original.
    """
    if config.block_order == "error":
        refits = config.recover != "none" and not samples.scoring.is_random
        return _by_error(_Errors(work, samples, judge, refits), branches)
    plain = [branch for branch in branches if not branch.parts]
    worth = energies(work, plain, samples.scoring, config.block_order)
    return iter(sorted(plain, key=lambda branch: worth[branch.name]))


def energies(
    work: Work, branches: Sequence[Branch], source: CalibrationSource, which: str
) -> dict[str, float]:
    """Energy statistics of what each branch adds.

    Args:
        work: the model.
        branches: simple ones.
        source: the samples.
        which: "energy" (PED), or "correlation" (with the model's answers).

    Raises:
        InputRefused: PED needs classes, and the model ranks none; there are too few samples; or
            what they give cannot be laid side by side.
    """
    few = source.part(0, min(DISTANCES, source.samples))
    if few.samples < LEAST:
        raise InputRefused(
            f"--block-order {which} compares samples, at least {LEAST}: {few.samples} are left "
            "beside those to judge by"
        )
    each = 4 * few.samples * NUMBERS
    room = max(1, MEMORY // each)
    answers, found = _features(work, list(work.analysis.graph.outputs)[:1], few)[0][0], {}
    labels, there = answers.argmax(axis=1), distances(answers)
    if which == "energy" and len(np.unique(labels)) < 2:
        raise InputRefused(
            "--block-order energy compares classes, and the model answers with one: "
            "--block-order correlation or error does without"
        )
    for start in range(0, len(branches), room):
        work.progress("blocks", start, len(branches))
        part = branches[start : start + room]
        seen = _features(work, [branch.added for branch in part], few)
        for branch, (values, size) in zip(part, seen, strict=True):
            apart = distances(values) * (size / values.shape[1]) ** 0.5
            found[branch.name] = (
                class_energy(apart, labels, size)
                if which == "energy"
                else distance_correlation(apart, there)
            )
    work.progress("blocks", len(branches), len(branches))
    return found


def _features(
    work: Work, tensors: list[str], source: CalibrationSource
) -> list[tuple[NDArray[np.floating], int]]:
    """(samples, numbers) of each tensor, and how many numbers it had."""
    graph = work.analysis.graph
    session = open_session(graph.proto, work.session, graph.base_dir, tensors)
    parts: list[list[NDArray[np.floating]]] = [[] for _ in tensors]
    sizes = [1] * len(tensors)
    for batch in source.batches(batch_size(work.analysis.facts, source, tensors)):
        made = execute(session, tensors, batch.inputs)
        for k, value in enumerate(made):
            rows = trimmed(value, batch)
            rows = rows if rows.ndim > 1 else rows.reshape(-1, 1)
            sizes[k] = int(rows[0].size)
            parts[k].append(shrunk(rows, NUMBERS).astype(np.float32))
    for name, several in zip(tensors, parts, strict=True):
        if len({part.shape[1:] for part in several}) > 1:
            raise InputRefused(
                f"{foreign(name)} has another size in each run: --block-order error does without"
            )
    return [(np.concatenate(rows), size) for rows, size in zip(parts, sizes, strict=True)]


@dataclass(frozen=True, slots=True)
class _Errors:
    """What the outputs lose without some blocks.

    Attributes:
        work: the whole model.
        samples: to re-fit with, and to judge by.
        judge: compares with the original.
        refits: whether the layers are re-fitted that answer for what is gone.
    """

    work: Work
    samples: Samples
    judge: Judge
    refits: bool

    def of(self, several: Sequence[Sequence[Branch]]) -> list[float]:
        """The relative error of the outputs without each of these sets."""
        judging = self.samples.judging
        few = judging.part(0, min(JUDGED, judging.samples))
        judge = open_judge(self.work.analysis, few, self.work.session, self.work.seed)
        found = []
        for number, branches in enumerate(several):
            self.work.progress("blocks", number, len(several))
            left = without_blocks(self.work, branches)
            model = left.ready.proto
            if self.refits:
                model = recover(self._cut(left), least_squares_method(LIGHT)).model
            found.append(judge.drift(model).rel_error)
        return found

    def _cut(self, work: Work) -> Cut:
        scoring = self.samples.scoring
        assert work.aims is not None
        return Cut(
            work.analysis,
            KeepMap({}),
            work.analysis.graph.proto,
            scoring.part(0, min(JUDGED, scoring.samples)),
            work.session,
            work.seed,
            effort=LIGHT,
            aims=replace(work.aims, changed=work.aims.answering),
        )

    def saved(self, branches: Sequence[Branch]) -> float:
        """Multiply-accumulates that go with some blocks, as a share of all."""
        gone = frozenset[int]().union(*(branch.nodes for branch in branches))
        terms = self.work.costs.macs
        whole = sum(term.value(KeepMap({})) for term in terms)
        return sum(t.value(KeepMap({})) for t in terms if t.node in gone) / max(1.0, whole)


def _by_error(errors: _Errors, branches: Sequence[Branch]) -> Iterator[Branch]:
    """Greedy removal: what costs least for what it saves, seen anew beside what went already.

    What a block costs rarely falls when others go.  So of the costs that were found before only
    those are found anew that are still the least (lazy greedy; Minoux 1978).
    """
    gone: list[Branch] = []
    reached = 0.0

    def costs(several: Sequence[Branch]) -> list[float]:
        sets = [(*gone, branch) for branch in several]
        had = errors.saved(gone)
        gains = [errors.saved(one) - had for one in sets]
        rises = (error - reached for error in errors.of(sets))
        return [rise / gain if gain > 0.0 else inf for rise, gain in zip(rises, gains, strict=True)]

    first = costs(branches)
    queue = [(cost, 0, k) for k, cost in enumerate(first)]
    heapq.heapify(queue)
    while queue:
        cost, age, k = heapq.heappop(queue)
        if cost == inf:
            return
        if age != len(gone):
            heapq.heappush(queue, (costs([branches[k]])[0], len(gone), k))
            continue
        before = errors.saved(gone)
        gone.append(branches[k])
        reached += cost * (errors.saved(gone) - before)
        yield branches[k]
