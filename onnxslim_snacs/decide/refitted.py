"""Error curves of groups whose readers are re-fitted: what a cut costs after recovery.

How strongly an error at a layer reaches the model's output is measured once for each group, on a
mild cut without recovery, or on a deeper one where that takes away units which hardly ever answer:
of two errors next to nothing the quotient says nothing.  How large the error is after the best
re-fit follows for every width from the second moments of what the readers see.  The product is the
curve.

A curve knows a cut of one group, of which a re-fit repairs more than it does where everything
around is cut as well: what the readers see is then no longer what they were to be re-fitted to.  So
a share of the error without recovery counts, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from onnxslim_snacs.decide.curves import Curve, judged
from onnxslim_snacs.ir.types import Group
from onnxslim_snacs.judge.error import Ask, ErrorJudge, Question
from onnxslim_snacs.layers.consumers import Consumers, Readers, readers_of
from onnxslim_snacs.plan.kept import Kept, Scores
from onnxslim_snacs.scores.criterion import ScoreContext

#: Shares of a group at which its curve is known.
SHARES = (0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875)
#: Shares of a group of which the first is removed to see how strongly errors reach the output that
#: costs its readers so much of their variance.
PROBED, TELLING = (0.25, 0.5, 0.75, 1.0), 1e-3

#: Share of the error without recovery in that of a group.  Agreement at half of the
#: multiply-accumulates with it and with none, means of two or three seeds: ResNet-8 78.8 and 71.6,
#: ResNet-20 91.8 and 92.5, ResNet-56 97.8 and 98.0; a VGG-like network 88.8 and 88.7 and a
#: transformer 68.1 and 67.7, looked at afterwards.
UNREPAIRED = 0.3


def refitted_curves(
    consumers: Consumers,
    context: ScoreContext,
    ask: Ask,
    groups: Sequence[Group],
    scores: Scores,
) -> dict[str, Curve]:
    """Curves after recovery; a group whose readers are not known gets the curve without.

    Args:
        consumers: the layers that read each channel axis, with their second moments.
        context: the model and its data.
        ask: asks a judge of end-to-end errors of cuts without recovery.
        groups: what can be pruned.
        scores: the order in which units go.
    """
    # a thread pool within the linear algebra only gets in the way of ONNX Runtime's
    with threadpool_limits(limits=context.session.threads):
        return _refitted_curves(consumers, context, ask, groups, scores)


def _refitted_curves(
    consumers: Consumers,
    context: ScoreContext,
    ask: Ask,
    groups: Sequence[Group],
    scores: Scores,
) -> dict[str, Curve]:
    told: list[_Told] = []

    def questions() -> Iterator[Question]:
        for group in groups:
            readers = readers_of(group, consumers)
            order = np.argsort(scores[group.id], kind="stable")
            probe, raw = _probe(order, readers)
            told.append(_Told(order, readers, raw))
            stays = np.ones(group.units, dtype=bool)
            stays[probe] = False
            if raw > 0.0:
                yield partial(_error, {group.id: stays})
            else:
                yield partial(judged, group, scores[group.id])

    curves: dict[str, Curve] = {}
    for number, (group, answer) in enumerate(zip(groups, ask(questions()), strict=True)):
        context.progress("error curves", number, len(groups))
        seen = told[number]
        known = isinstance(answer, Curve)
        curves[group.id] = answer if known else _curve(group, seen, answer / seen.raw)
    context.progress("error curves", len(groups), len(groups))
    return curves


@dataclass(frozen=True, slots=True)
class _Told:
    """What the readers of a group tell.

    Attributes:
        order: (units,) in which units go.
        readers: the layers that read them.
        raw: by how much of their variance these feel the loss of the first ones.
    """

    order: NDArray[np.intp]
    readers: Readers
    raw: float


def _error(kept: Kept, judge: ErrorJudge) -> float:
    return judge.error(kept)


def _probe(order: NDArray[np.intp], readers: Readers) -> tuple[NDArray[np.intp], float]:
    """Units whose loss the readers feel, and by how much of their variance; one stays."""
    for share in PROBED:
        probe = order[: max(1, min(len(order) - 1, round(share * len(order))))]
        raw = float(sum(c.error_raw(index[probe].reshape(-1)) for c, index in readers))
        if raw >= TELLING:
            break
    return probe, raw


def _curve(group: Group, told: _Told, gain: float) -> Curve:
    counts = sorted({round(share * group.units) for share in SHARES} - {0, group.units})
    left = np.zeros(len(counts))
    for consumer, index in told.readers:
        units = index[told.order]
        left += (1.0 - UNREPAIRED) * consumer.errors_refitted(units, counts)
        left += UNREPAIRED * consumer.errors_raw(units, counts)
    return Curve(np.array([0, *counts]), np.maximum.accumulate([0.0, *(gain * left)]))
