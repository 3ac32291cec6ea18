"""SNACS as criteria: its estimators, and the options of each."""

from __future__ import annotations

from dataclasses import replace

from onnxslim_snacs.scores.criterion import Criterion, Option, ScoreContext, ScoreResult
from onnxslim_snacs.scores.parts import at_least, one_of
from onnxslim_snacs.scores.snacs.phi import PHI_FORMS
from onnxslim_snacs.scores.snacs.score import UNITS, score


def score_gaussian(
    context: ScoreContext,
    groups: int | None = None,
    phi: str = "weight",
    units: str = "direct",
    save: float = 0.0,
) -> ScoreResult:
    """As `score`, with conditional information from partial correlations."""
    return score(context, groups, "gaussian", phi, units, save)


def _share(text: str) -> float:
    number = float(text)
    if not 0.0 <= number < 1.0:
        raise ValueError("expected a share from 0 to below 1")
    return number


_CONDITIONING = Option(
    "conditioning",
    one_of("residual", "hash"),
    "the other parents' linear part is taken out (residual, default), or hashed as published",
)
_GROUPS = Option("groups", at_least(1), "filter groups per layer instead of single filters")
_PHI = Option("phi", one_of(*PHI_FORMS), f"what scores are scaled by: {', '.join(PHI_FORMS)}")
_UNITS = Option(
    "units", one_of(*UNITS), "a unit's own connections (direct), or importance from the outputs"
)
_SAVE = Option("save", _share, "share of each layer's units that its sensitivity protects (0)")
_COMMON = (_GROUPS, _PHI, _UNITS, _SAVE)
SNACS = Criterion(
    "snacs",
    "adaptive conditional mutual information times weights (Ganesh et al. 2020)",
    score,
    needs=("weights", "activations", "labels"),
    options=(_CONDITIONING, *_COMMON),
)
SNACS_REFIT = replace(
    SNACS,
    name="snacs-refit",
    summary="the sum of the rank by snacs and twice the rank by refit",
    joins_refit=True,
)
GAUSSIAN = Criterion(
    "snacs-gaussian",
    "snacs with conditional information from partial correlations",
    score_gaussian,
    needs=("weights", "activations", "labels"),
    options=_COMMON,
)
