"""The proof end to end: the outputs of both sides, and what their layers have summed up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from onnxslim_snacs.errors import LimitExceeded, RuntimeRefused
from onnxslim_snacs.ir.keep import KeepMap
from onnxslim_snacs.ops.analyse import Analysis
from onnxslim_snacs.proof.boundary import Boundary
from onnxslim_snacs.proof.difference import Found, worst_difference
from onnxslim_snacs.proof.noise import FACTOR
from onnxslim_snacs.proof.sides import Side, Values
from onnxslim_snacs.proof.widen import SINGLE, holds
from onnxslim_snacs.proof.witnesses import sigmoids, witnesses

#: Largest max|difference| / max|output| that is taken for rounding end to end (15
#: times the largest deviation measured over 200 random graphs).
TOLERANCE = 1e-5
#: Largest that needs no explanation: 16 units in the last place of single precision.
LEAST = 16 * 2.0**-23
#: Extent of the values of a Sigmoid.
RANGE = 1.0
#: The largest that needs no explanation in half precision, where a model runs in no other.
TOLERANCE_HALF = 2e-2
#: Seed of the run that shows how much a model's answers are rounding.
SHAKE = 10


def in_single(ours: Side, theirs: Side) -> tuple[Side, Side, float]:
    """Both sides in single precision, if they are in half and can be run so; what is allowed."""
    if not holds(ours.model, SINGLE):
        return ours, theirs, LEAST
    wide = ours.wide(SINGLE)
    try:
        wide.run(info.name for info in wide.model.graph.output)
    except (
        RuntimeRefused,
        LimitExceeded,
    ):  # some exist in half only
        return ours, theirs, TOLERANCE_HALF
    return wide, theirs.wide(SINGLE), LEAST


def compare_whole(
    analysis: Analysis, keep: KeepMap, ours: Side, theirs: Side, boundary: Boundary, floor: float
) -> Found:
    """The output, or what a layer has summed up, whose difference is nearest to what is allowed.

    The noise of one run is a guess: what is large is allowed no more than `TOLERANCE`.

    Args:
        analysis: the original.
        keep: what the plan keeps.
        ours: the masked original, with its inputs.
        theirs: the cut model, with the same inputs cut.
        boundary: what could not be run, and is in neither.
        floor: max|difference| / max|output| that needs no explanation.
    """
    squashed = {
        name: read
        for name, read in sigmoids(analysis, keep, theirs.model).items()
        if read not in boundary.made
    }
    outputs = [name for name in analysis.graph.outputs if name not in boundary.made]
    told = (*boundary.reads, *witnesses(analysis, keep, theirs.model), *squashed.values())
    names = list(dict.fromkeys((*outputs, *told)))
    wanted, got = ours.run(names), theirs.run(names)
    small = _without_noise(keep, wanted, got, squashed, floor)
    if small is not None:
        return small
    again = _shaken(ours, names)

    def found(name: str) -> Found:
        least = RANGE if name in squashed else 0.0
        kept, moved = (
            [keep.cut(name, value) for value in values]
            for values in (wanted[name], again.get(name, wanted[name]))
        )
        noise = worst_difference(kept, moved, least)
        allowed = min(TOLERANCE, max(LEAST, FACTOR * noise)) if floor == LEAST else floor
        return Found(name, worst_difference(kept, got[name], least), noise, allowed)

    return max(map(found, names), key=lambda one: one.excess, default=Found("", 0.0, 0.0, floor))


def _without_noise(
    keep: KeepMap, wanted: Values, got: Values, squashed: Mapping[str, str], floor: float
) -> Found | None:
    """The largest difference if none needs an explanation, so that nobody has to look for noise."""
    apart = {
        name: worst_difference(
            [keep.cut(name, value) for value in values],
            got[name],
            RANGE if name in squashed else 0.0,
        )
        for name, values in wanted.items()
    }
    worst = max(apart, key=lambda name: apart[name], default="")
    largest = apart.get(worst, 0.0)
    return Found(worst, largest, 0.0, floor) if largest <= floor else None


def _shaken(side: Side, names: Sequence[str]) -> Values:
    """What a model makes of a unit in the last place; {} if it then runs no more."""
    try:
        return side.shaken(SHAKE).run(names)
    except (
        RuntimeRefused,
        LimitExceeded,
    ):  # a number that is an extent has moved
        return {}
