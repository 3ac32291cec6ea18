"""MINT: conditional information of connections by minimum spanning trees (method 7.4).

Ganesh, Corso, Sekeh 2020, with what its released code gets wrong put right.  SNACS estimates the
same quantity by hashing, in a fraction of the time; this is here to compare with.  A unit's score
is the share that it has in the information of each layer that reads it.
"""

from __future__ import annotations

import numpy as np

from onnxslim_snacs.errors import InputRefused
from onnxslim_snacs.layers.moments import FloatArray
from onnxslim_snacs.layers.pairs import Pair, layer_pairs
from onnxslim_snacs.scores.criterion import Criterion, Option, ScoreContext, ScoreResult
from onnxslim_snacs.scores.fallback import completed
from onnxslim_snacs.scores.parts import NORMALISE, REDUCE, Part, at_least, together
from onnxslim_snacs.scores.snacs.hashing import group_starts
from onnxslim_snacs.scores.snacs.pooled import pooled_statistics, request
from onnxslim_snacs.scores.spanning import tree_information

#: Rows of pooled activations; the time goes with their square.
ROWS = 400
#: Ways to deal the rows out; of one alone the estimate is about as far off as units are apart.
DRAWS = 8
#: Least rows of which trees say anything.
_LEAST = 12


def score(
    context: ScoreContext,
    groups: int | None = None,
    rows: int = ROWS,
    draws: int = DRAWS,
    reduce: str = "sum",
    normalise: str = "sum",
) -> ScoreResult:
    """Share of each unit in the information that its readers take from it.

    Raises:
        InputRefused: there are too few samples.
    """
    pairs = [p for p in layer_pairs(context.analysis) if p.weight.shape[1] > max(1, p.groups)]
    if not pairs:
        return completed(context, {}, "no layer with stored weights reads them")
    statistics = pooled_statistics(context, pairs)
    parts: dict[str, list[Part]] = {}
    for number, pair in enumerate(pairs):
        context.progress("spanning trees", number, len(pairs))
        x, y = (statistics.pooled[request(context, a)][:rows] for a in (pair.out, pair.data))
        if len(x) < _LEAST:
            raise InputRefused(f"{len(x)} samples are too few for trees: give at least {_LEAST}")
        several = (
            tree_information(x, y, groups=groups, seed=context.seed * draws + draw)
            for draw in range(draws)
        )
        worth = _of_parents(pair, np.asarray(sum(several) / draws))
        for group in context.analysis.ir.groups:
            index = group.on(pair.data)
            if index is not None:
                parts.setdefault(group.id, []).append(Part(worth[index].sum(axis=1)))
    context.progress("spanning trees", len(pairs), len(pairs))
    found = {name: together(several, reduce, normalise) for name, several in parts.items()}
    return completed(context, found, "no layer with stored weights reads them")


def _of_parents(pair: Pair, information: FloatArray) -> FloatArray:
    """(parents,) information over all children, of the group in which each parent is."""
    parents, blocks = pair.weight.shape[1], information.shape[1]
    sizes = np.diff(group_starts(parents, blocks), append=parents)
    return np.repeat(information.sum(axis=0), sizes)


MINT = Criterion(
    "mint",
    "conditional information by minimum spanning trees (Ganesh et al. 2020); slow",
    score,
    needs=("activations",),
    options=(
        Option("groups", at_least(1), "filter groups per layer instead of single filters"),
        Option("rows", at_least(_LEAST), "samples that are looked at"),
        Option("draws", at_least(1), "ways to deal the samples out whose mean is taken"),
        REDUCE,
        NORMALISE,
    ),
)
