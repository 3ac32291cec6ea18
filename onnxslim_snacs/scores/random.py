"""Random order: the row beside which every other criterion is judged."""

from __future__ import annotations

import numpy as np

from onnxslim_snacs.scores.criterion import Criterion, ScoreContext, ScoreResult


def score(context: ScoreContext) -> ScoreResult:
    """Independent uniform numbers; the same seed gives the same order."""
    rng = np.random.default_rng(context.seed)
    return ScoreResult({g.id: rng.random(g.units) for g in context.analysis.ir.groups})


CRITERION = Criterion("random", "uniform random order, by --seed", score, needs_data=False)
