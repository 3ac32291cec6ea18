"""Which multiples of channels this machine runs best, measured on real cuts of the model.

Kernels work on blocks of channels (ONNX Runtime's convolutions on 8 or 16 at a time, where the
width divides), so that the fastest cut of a budget is rarely one of arbitrary widths.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from onnxslim_snacs.decide.allocation import Allocation, Constraints
from onnxslim_snacs.decide.choose import Price, by_target
from onnxslim_snacs.decide.latency import Stopwatch
from onnxslim_snacs.errors import NothingToPrune
from onnxslim_snacs.ir.types import Group
from onnxslim_snacs.plan.kept import Kept, Scores

#: What is tried; finer widths stay unless a coarser one is faster by this share, a little
#: more than repeated measurements of one cut differed by (.574 to .584 of the original's time).
MULTIPLES = (1, 4, 8, 16, 32)
GAIN = 0.03


def fastest_multiple(
    groups: tuple[Group, ...],
    scores: Scores,
    price: Price,
    constraints: Constraints,
    stopwatch: Stopwatch,
    *,
    allocate: Allocation,
) -> tuple[int, dict[int, float]]:
    """The multiple whose cut at a budget runs fastest.

    Args:
        groups: what can be pruned.
        scores: the criterion's scores.
        price: decision -> cost relative to the budget (1 meets it).
        constraints: limits and protected units.
        stopwatch: decision -> measured time as a share of the original's.
        allocate: what goes at each depth: the lowest of all units, or a share of every group.

    Returns:
        The multiple, and the measured share of the original's time for each that meets the budget.
    """
    times = measured(
        lambda step: (
            by_target(
                groups, scores, price, replace(constraints, multiple_of=step), allocate=allocate
            ).kept
        ),
        stopwatch,
    )
    best = 1
    for step, time in times.items():
        if time < times.get(best, float("inf")) * (1 - GAIN):
            best = step
    return best, times


def measured(choose: Callable[[int], Kept], stopwatch: Stopwatch) -> dict[int, float]:
    """The time of the cut with each multiple; those that cannot meet the budget are left out."""
    times = {}
    for step in MULTIPLES:
        try:
            times[step] = stopwatch(choose(step))
        except NothingToPrune:
            continue
    return times
