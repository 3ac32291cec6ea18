"""HRank: the rank of a channel's map, over images (method 7.2).

Lin et al. 2020: the mean over images of the matrix rank of the map (height x width) behind the
activation.  Only a ReLU makes ranks that differ: in front of one, and behind leaky or smooth
activations, every map has full rank, and the numbers say nothing.  Channels without such maps are
ordered by their norms, with a warning.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxslim_snacs.ir.types import Axis, Group
from onnxslim_snacs.layers.moments import FloatArray
from onnxslim_snacs.ops.analyse import Analysis
from onnxslim_snacs.scores.criterion import Criterion, Option, ScoreContext, ScoreResult
from onnxslim_snacs.scores.fallback import completed
from onnxslim_snacs.scores.maps import MapAxis, map_axes, mean_over_images
from onnxslim_snacs.scores.parts import NORMALISE, REDUCE, Part, at_least, together

#: Images; the paper takes 640.
IMAGES = 128
WHY = (
    "hrank is defined on maps of at least 2 x 2 behind a ReLU, and behind other activations "
    "all ranks are full"
)


def score(
    context: ScoreContext, reduce: str = "mean", normalise: str = "none", images: int = IMAGES
) -> ScoreResult:
    """Mean rank of the rectified maps of each unit."""
    analysis = context.analysis
    on = {group.id: _rectified(analysis, group) for group in analysis.ir.groups}
    wanted = map_axes(context, [axis for axes in on.values() for axis in axes])
    ranks = mean_over_images(context, wanted, images, _ranks)
    found = {}
    for group in analysis.ir.groups:
        parts = [Part(ranks[a][_index(group, a)].sum(axis=1)) for a in on[group.id] if a in ranks]
        if parts:
            found[group.id] = together(parts, reduce, normalise)
    return completed(context, found, WHY)


def _index(group: Group, axis: Axis) -> NDArray[np.int64]:
    index = group.on(axis)
    assert index is not None
    return index


def _rectified(analysis: Analysis, group: Group) -> list[Axis]:
    """The channel axes of a group on maps that a ReLU has made."""
    graph, found = analysis.graph, []
    for member in group.members:
        position = graph.producer.get(member.axis.tensor)
        shapes = analysis.facts.samples(member.axis.tensor)
        if position is None or not shapes or not _rectifies(analysis, position):
            continue
        rest = [n for k, n in enumerate(shapes[0]) if k not in (0, member.axis.dim)]
        if len(rest) >= 2 and min(rest) > 1:
            found.append(member.axis)
    return found


def _rectifies(analysis: Analysis, position: int) -> bool:
    """Whether a node is a ReLU, cut off above or not."""
    node = analysis.nodes[position]
    if node.op != "Clip":
        return node.op == "Relu"
    low = node.in_value(1) if node.has_input(1) else node.attr("min")
    return low is not None and float(np.asarray(low)) == 0.0


def _ranks(item: MapAxis, values: NDArray[Any]) -> FloatArray:
    """(samples, channels) ranks of (samples, channels, height, width...)."""
    matrices = values.reshape(*values.shape[:3], -1)
    return np.asarray(np.linalg.matrix_rank(matrices), dtype=np.float64)


HRANK = Criterion(
    "hrank",
    "mean rank of a channel's map behind its ReLU (Lin et al. 2020)",
    score,
    needs=("activations",),
    options=(REDUCE, NORMALISE, Option("images", at_least(1), "samples that are looked at")),
)
