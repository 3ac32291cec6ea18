"""The proof node by node: each is shown the same numbers on both sides.

End to end, a model may turn a unit in the last place into another answer: boxes that are as good as
equal change places, a quantiser takes the next step, a recurrent layer is chaos.  If every node of
the cut model, shown what the masked original shows it, answers the same but for rounding, then so
do both models, and no such node has anything to add.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxslim_snacs.errors import LimitExceeded, RuntimeRefused
from onnxslim_snacs.ir.keep import KeepMap
from onnxslim_snacs.ops.analyse import Analysis
from onnxslim_snacs.proof.difference import Found, worst_difference
from onnxslim_snacs.proof.noise import FACTOR
from onnxslim_snacs.proof.sides import Side, Values
from onnxslim_snacs.proof.widen import DOUBLE
from onnxslim_snacs.proof.witnesses import chunks, comparable

#: Runs that are moved by a unit in the last place, where a difference needs an explanation.
SHAKES = (11, 12, 13, 14)


def compare_by_node(
    analysis: Analysis, keep: KeepMap, masked: Side, cut: Side, floor: float
) -> Found | None:
    """Compare two sides with the same numbers at every node.

    Args:
        analysis: the original.
        keep: what the plan keeps.
        masked: the masked original.
        cut: the cut model.
        floor: a difference that needs no explanation.

    Returns:
        The tensor that comes nearest to what is allowed, or lies furthest beyond; None if there is
        none to compare.
    """
    made = masked.made() & cut.made()
    names = comparable(analysis, keep, made)
    worst: Found | None = None
    for part in chunks(analysis, names):
        around = [name for name in _read(analysis, part) if name in set(names)]
        for found in _compare(analysis, keep, masked, cut, around, part, floor):
            worst = found if worst is None or found.excess > worst.excess else worst
    return worst


def _compare(
    analysis: Analysis,
    keep: KeepMap,
    masked: Side,
    cut: Side,
    around: Sequence[str],
    part: Sequence[str],
    floor: float,
) -> Iterator[Found]:
    """Compare the tensors of one part of the graph, with those around it given as well."""
    wanted = masked.run((*around, *part))
    gates = {name: several for name, several in wanted.items() if _is_gate(several)}
    told = [n for n in part if n in wanted and _tells(analysis, n, wanted[n])]
    shown = {name: [keep.cut(name, v) for v in several] for name, several in gates.items()}
    got = cut.at_gates(shown).run(told)
    kept = {name: [keep.cut(name, v) for v in wanted[name]] for name in told}
    apart = {n: worst_difference(kept[n], got[n]) for n in told if n in got}
    doubtful = [name for name, difference in apart.items() if difference > floor]
    doubtful = doubtful or sorted(apart, key=lambda name: -apart[name])[:1]
    noise = _noise(keep, masked.at_gates(gates), kept, doubtful)
    for name, difference in apart.items():
        rounding = noise.get(name, 0.0)
        yield Found(name, difference, rounding, max(floor, FACTOR * rounding))


def _read(analysis: Analysis, part: Sequence[str]) -> list[str]:
    """What the nodes of a part read that other nodes have made."""
    graph, inside = analysis.graph, set(part)
    readers = {graph.producer[name] for name in part}
    read = (name for position in sorted(readers) for name in analysis.nodes[position].inputs)
    return [name for name in read if name in graph.producer and name not in inside]


def _is_gate(several: Sequence[NDArray[Any]]) -> bool:
    """Only real numbers round; what is whole follows from them."""
    return several[0].dtype.kind == "f"


def _tells(analysis: Analysis, name: str, several: Sequence[NDArray[Any]]) -> bool:
    """Whether a tensor has to be the same; vectors of whole numbers may hold extents."""
    if several[0].dtype.kind == "f" or name in analysis.graph.outputs:
        return True
    return several[0].ndim > 1 and not analysis.facts.is_weight(name)


def _noise(
    keep: KeepMap, masked: Side, kept: Mapping[str, Sequence[NDArray[Any]]], names: Sequence[str]
) -> dict[str, float]:
    """How far the original is from itself at some tensors."""
    found = dict.fromkeys(names, 0.0)
    for values in _again(masked, names):
        for name, several in values.items():
            moved = [keep.cut(name, v).astype(kept[name][0].dtype) for v in several]
            apart = worst_difference(kept[name], moved)
            found[name] = max(found[name], apart if np.isfinite(apart) else 0.0)
    return found


def _again(masked: Side, names: Sequence[str]) -> Iterator[Values]:
    """The original once more: moved a little, and in double precision where it can be run so."""
    for seed in SHAKES:
        yield masked.shaken(seed).run(names)
    try:
        yield masked.wide(DOUBLE).run(names)
    except (
        RuntimeRefused,
        LimitExceeded,
    ):  # some operators exist in single only
        return
