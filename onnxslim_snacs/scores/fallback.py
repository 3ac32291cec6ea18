"""What a criterion says of the groups of which it knows nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from onnxslim_snacs.layers.moments import FloatArray
from onnxslim_snacs.scores.criterion import ScoreContext, ScoreResult
from onnxslim_snacs.scores.magnitude import l1

#: Groups that a warning names.
_NAMED = 3


def completed(
    context: ScoreContext, scores: Mapping[str, FloatArray], why: str = "", **notes: Any
) -> ScoreResult:
    """The result, with groups that are missing ordered by the L1 norm of their filters.

    Args:
        context: the model.
        scores: of the groups of which the criterion knows something.
        why: what is missing about the others, for a warning; "" for none.
        notes: of the result.
    """
    blind = [group.id for group in context.analysis.ir.groups if group.id not in scores]
    if not blind:
        return ScoreResult(dict(scores), notes=notes)
    norms = l1(context).scores
    several = ", ".join(blind[:_NAMED]) + (", ..." if blind[_NAMED:] else "")
    warnings = (f"{len(blind)} groups ({several}) are ordered by their norms: {why}",)
    return ScoreResult(
        {**scores, **{name: norms[name] for name in blind}},
        notes={**notes, "ordered by their norms": blind},
        warnings=warnings if why else (),
    )
