"""The connectivity of every layer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onnxslim_snacs.activations.requests import Statistics
from onnxslim_snacs.layers.pairs import Pair
from onnxslim_snacs.scores.criterion import ScoreContext
from onnxslim_snacs.scores.snacs.acmi import HashOptions
from onnxslim_snacs.scores.snacs.blas import side_by_side
from onnxslim_snacs.scores.snacs.connectivity import Connectivity, connectivity
from onnxslim_snacs.scores.snacs.phi import scale_weights
from onnxslim_snacs.scores.snacs.pooled import request


@dataclass(frozen=True, slots=True)
class Scored:
    """One layer with its scores.

    Attributes:
        pair: the layer.
        result: connectivity, axes (child, parent), and its quality; None where a child has one
            parent only (depthwise), so that there is nothing to rank.
    """

    pair: Pair
    result: Connectivity | None

    @property
    def rho(self) -> NDArray[np.float64]:
        """Connectivity, axes (child, parent)."""
        return self.pair.weight if self.result is None else self.result.rho


def score_pairs(
    context: ScoreContext,
    pairs: list[Pair],
    statistics: Statistics,
    conditioning: str,
    groups: int | None,
    phi: str,
) -> list[Scored]:
    """Connectivity of every layer; weights are scaled over all layers together.

    Args:
        context: the model and its data.
        pairs: the layers.
        statistics: their pooled inputs and outputs.
        conditioning: how the other parents are accounted for, a key of `ESTIMATORS`.
        groups: filter groups for each layer; None for single filters.
        phi: what scores are scaled by, a key of `PHI_FORMS`.
    """
    scaled = scale_weights([pair.weight for pair in pairs])
    # layers run side by side, so that there are no threads within one unless it is the only one
    options = HashOptions(threads=None if len(pairs) == 1 else 1)

    def one(number: int) -> Scored:
        pair = pairs[number]
        if pair.weight.shape[1] == pair.groups or pair.weight.shape[1] < 2:
            return Scored(pair, None)
        result = connectivity(
            statistics.pooled[request(context, pair.out)],
            statistics.pooled[request(context, pair.data)],
            scaled[number],
            estimator=conditioning,
            phi=phi,
            groups=groups,
            seed=context.seed,
            options=options,
        )
        return Scored(pair, result)

    found: list[Scored] = []
    for scored in side_by_side(one, range(len(pairs))):
        context.progress("connectivity", len(found), len(pairs))
        found.append(scored)
    context.progress("connectivity", len(pairs), len(pairs))
    return found
