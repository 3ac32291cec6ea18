"""Network Slimming: the scale that a normalisation gives to a channel (method 7.1).

Liu et al. 2017: |gamma| of the batch normalisation behind a layer.  It says most where training
drew the scales to zero, and nothing where an exporter has folded the normalisation into the layer
before it: such groups are ordered by the norms of their filters, and the report says so.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from onnxslim_snacs.ir.types import Axis
from onnxslim_snacs.ops.analyse import Analysis
from onnxslim_snacs.scores.criterion import Criterion, ScoreContext, ScoreResult
from onnxslim_snacs.scores.fallback import completed
from onnxslim_snacs.scores.parts import NORMALISE, REDUCE, Part, together

#: Operators whose second input is a scale for each channel.
_SCALED = (
    "BatchNormalization",
    "InstanceNormalization",
    "GroupNormalization",
    "LayerNormalization",
    "RMSNormalization",
    "SimplifiedLayerNormalization",
)


def score(context: ScoreContext, reduce: str = "mean", normalise: str = "none") -> ScoreResult:
    """|gamma| of the normalisations on which each unit lies."""
    found = {}
    scales = [item for part in context.analysis.parts() for item in _scales(part)]
    for group in context.analysis.ir.groups:
        on = ((group.on(axis), values) for axis, values in scales)
        parts = [Part(values[index].sum(axis=1)) for index, values in on if index is not None]
        if parts:
            found[group.id] = together(parts, reduce, normalise)
    missing = "no normalisation scales them: folded into the layers before, or none was there"
    return completed(context, found, missing)


def _scales(analysis: Analysis) -> Iterator[tuple[Axis, NDArray[np.float64]]]:
    """The stored scales of normalisations with their axis."""
    seen = set()
    for node in analysis.nodes:
        if node.op.split("::")[-1] not in _SCALED or not node.has_input(1):
            continue
        name = node.inputs[1]
        values = analysis.facts.value(name) if analysis.facts.is_weight(name) else None
        if values is not None and values.ndim == 1 and name not in seen:
            seen.add(name)
            yield Axis(name, 0), np.abs(values.astype(np.float64))


BN_GAMMA = Criterion(
    "bn_gamma",
    "scale of the normalisation behind a unit (Network Slimming, Liu et al. 2017)",
    score,
    needs_data=False,
    needs=("weights",),
    options=(REDUCE, NORMALISE),
)
