"""Error curves of single groups, corrected for what cutting all groups at once shows.

A curve knows one group alone.  It does not know that errors in what many layers read add up over
them all, nor that an early error may be repaired, or amplified, by the layers behind it.  Two
numbers stand for that: slopes are multiplied by readers ** sharing * exp(depth * (place - 1/2)).
They are found by hill climbing, with a recovered cut as the judge, never an unrecovered one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import exp

import numpy as np

from onnxslim_snacs.ir.build import DependencyGraph
from onnxslim_snacs.ir.types import Axis
from onnxslim_snacs.plan.kept import Scores


@dataclass(frozen=True, slots=True)
class Tilt:
    """How slopes are corrected.

    Attributes:
        sharing: exponent of the number of layers that read a group.
        depth: by how much groups at the end count more than those at the beginning, in e-folds.
    """

    sharing: float = 0.25
    depth: float = 0.0


@dataclass(frozen=True, slots=True)
class Place:
    """Where a group lies.

    Attributes:
        readers: layers that read it.
        depth: where they lie on average, from 0 (the first node) to 1 (the last one).
    """

    readers: int
    depth: float


#: Steps that are tried in both directions from the best tilt so far, in this order.
_STEPS = ((0.25, 0.0), (0.0, 1.0))


def places(ir: DependencyGraph) -> dict[str, Place]:
    """Where each group lies."""
    last = max((node for node, _ in ir.sinks), default=0) or 1
    readers: dict[Axis, list[int]] = {}
    for node, sink in ir.sinks:
        readers.setdefault(sink.axis, []).append(node)
    found = {}
    for group in ir.groups:
        nodes = [node for member in group.members for node in readers.get(member.axis, ())]
        depth = float(np.mean(nodes)) / last if nodes else 0.5
        found[group.id] = Place(max(1, len(nodes)), depth)
    return found


def tilted(scores: Scores, where: Mapping[str, Place], tilt: Tilt) -> Scores:
    """Slopes, corrected; the order within each group stays."""
    return {
        name: values * factor(where[name], tilt) if name in where else values
        for name, values in scores.items()
    }


def factor(place: Place, tilt: Tilt) -> float:
    """What the slopes of a group are multiplied by."""
    return float(place.readers**tilt.sharing * exp(tilt.depth * (place.depth - 0.5)))


def climb(
    errors: Callable[[Sequence[Tilt]], Sequence[float]], tries: int, start: Tilt
) -> tuple[Tilt, tuple[tuple[Tilt, float], ...]]:
    """The best tilt that hill climbing finds, along one of the two numbers after the other.

    Args:
        errors: judges several tilts.
        tries: how many may be judged; with one or none the start is taken as it is.
        start: where to begin.

    Returns:
        The tilt, and every one that was judged with its error.
    """
    if tries <= 1:
        return start, ()
    tried: dict[Tilt, float] = {}
    best, step, still = start, 0, 0
    while still < len(_STEPS) and len(tried) < tries:
        near = [_moved(best, _STEPS[step], way) for way in (0, 1, -1)]
        new = [tilt for tilt in near if tilt not in tried][: tries - len(tried)]
        tried.update(zip(new, errors(new) if new else (), strict=True))
        before, best = best, min(tried, key=tried.__getitem__)
        still = still + 1 if best == before else 0
        step = (step + 1) % len(_STEPS)
    return best, tuple(tried.items())


def _moved(tilt: Tilt, step: tuple[float, float], way: int) -> Tilt:
    return Tilt(tilt.sharing + way * step[0], tilt.depth + way * step[1])
