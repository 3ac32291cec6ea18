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

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from onnxslim_snacs.decide.curves import Curve, measure_curve
from onnxslim_snacs.ir.types import Group
from onnxslim_snacs.judge.error import ErrorJudge
from onnxslim_snacs.layers.consumers import Consumers, Readers, readers_of
from onnxslim_snacs.plan.kept import Scores
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
    judge: ErrorJudge,
    groups: Sequence[Group],
    scores: Scores,
) -> dict[str, Curve]:
    """Curves after recovery; a group whose readers are not known gets the curve without.

    Args:
        consumers: the layers that read each channel axis, with their second moments.
        context: the model and its data.
        judge: end-to-end errors of cuts without recovery.
        groups: what can be pruned.
        scores: the order in which units go.
    """
    # a thread pool within the linear algebra only gets in the way of ONNX Runtime's
    with threadpool_limits(limits=context.session.threads):
        return _refitted_curves(consumers, context, judge, groups, scores)


def _refitted_curves(
    consumers: Consumers,
    context: ScoreContext,
    judge: ErrorJudge,
    groups: Sequence[Group],
    scores: Scores,
) -> dict[str, Curve]:
    curves = {}
    for number, group in enumerate(groups):
        context.progress("error curves", number, len(groups))
        readers = readers_of(group, consumers)
        order = np.argsort(scores[group.id], kind="stable")
        probe, raw = _probe(order, readers)
        if raw <= 0.0:
            curves[group.id] = measure_curve(group, scores[group.id], judge.error)
            continue
        stays = np.ones(group.units, dtype=bool)
        stays[probe] = False
        gain = judge.error({group.id: stays}) / raw
        curves[group.id] = _curve(group, order, readers, gain)
    context.progress("error curves", len(groups), len(groups))
    return curves


def _probe(order: NDArray[np.intp], readers: Readers) -> tuple[NDArray[np.intp], float]:
    """Units whose loss the readers feel, and by how much of their variance; one stays."""
    for share in PROBED:
        probe = order[: max(1, min(len(order) - 1, round(share * len(order))))]
        raw = float(sum(c.error_raw(index[probe].reshape(-1)) for c, index in readers))
        if raw >= TELLING:
            break
    return probe, raw


def _curve(group: Group, order: NDArray[np.intp], readers: Readers, gain: float) -> Curve:
    counts = sorted({round(share * group.units) for share in SHARES} - {0, group.units})
    left = np.zeros(len(counts))
    for consumer, index in readers:
        units = index[order]
        left += (1.0 - UNREPAIRED) * consumer.errors_refitted(units, counts)
        left += UNREPAIRED * consumer.errors_raw(units, counts)
    return Curve(np.array([0, *counts]), np.maximum.accumulate([0.0, *(gain * left)]))
