"""HESSO's saliency, the composite by which Only-Train-Once ranks its groups (method 7.5).

Of a unit with weights x (filters, biases, scales and shifts that make it) and their gradient g:
|x|, |x| over the number of weights, the cosine of x and g plus one, |x.g| and (x.g)^2 / 2, each
divided by its norm over the units of all groups, and averaged (Chen et al. 2023, and their released
optimiser, whose sign of the cosine is kept).  Scores of different groups compare.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from onnxslim_snacs.layers.moments import FloatArray
from onnxslim_snacs.scores.criterion import Criterion, ScoreContext, ScoreResult
from onnxslim_snacs.scores.fallback import completed
from onnxslim_snacs.scores.losses import LOSS, choose_losses
from onnxslim_snacs.scores.parts import NORMALISE, Part, together
from onnxslim_snacs.scores.unit_gates import device_of
from onnxslim_snacs.scores.unit_weights import summed_gradients, unit_weights
from onnxslim_snacs.torch_graph.network import open_network

_TINY = 1e-30


def score(context: ScoreContext, loss: str = "auto", normalise: str = "none") -> ScoreResult:
    """Mean of five measures of each unit's weights and their gradient."""
    name, losses = choose_losses(context, loss, draws=1, shared=True)
    analysis = context.analysis
    network = open_network(analysis.graph, device=device_of(context))
    parts = unit_weights(analysis, network.trained, readers=False)
    keys = list(dict.fromkeys(axis.tensor for _, axis, _ in parts))
    (slopes,) = summed_gradients(context, network, keys, losses) or [{}]
    sums: dict[str, FloatArray] = {}
    for group, axis, index in parts:
        x, g = (
            np.moveaxis(value.detach().double().cpu().numpy(), axis.dim, 0)[index]
            for value in (network.values[axis.tensor], slopes[axis.tensor])
        )
        flat = (a.reshape(len(index), -1) for a in (x * x, g * g, x * g, np.ones_like(x)))
        sums[group] = sums.get(group, 0.0) + np.stack([a.sum(axis=1) for a in flat])
    scores = saliency(list(sums.values()))
    found = {
        group: together([Part(values)], "sum", normalise)
        for group, values in zip(sums, scores, strict=True)
    }
    return completed(context, found, loss=name)


def saliency(sums: Sequence[FloatArray]) -> list[FloatArray]:
    """(units,) for each group.

    Args:
        sums: of each group (4, units): |x|^2, |g|^2, x.g and the number of weights.
    """
    if not sums:
        return []
    xx, gg, xg, count = np.concatenate(sums, axis=1)
    norm = np.sqrt(xx)
    cosine = xg / np.maximum(norm * np.sqrt(gg), _TINY) + 1.0
    measures = np.stack([norm, norm / count, cosine, np.abs(xg), np.square(xg) / 2.0])
    whole = np.linalg.norm(measures, axis=1, keepdims=True)
    mean = (measures / np.maximum(whole, _TINY)).mean(axis=0)
    return np.split(mean, np.cumsum([part.shape[1] for part in sums])[:-1])


HESSO = Criterion(
    "hesso",
    "OTO's composite of norms, cosine and first-order change (Chen et al. 2023)",
    score,
    needs=("weights", "gradients", "labels"),
    options=(LOSS, NORMALISE),
)
