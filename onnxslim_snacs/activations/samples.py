"""Samples to decide by, and samples to judge the decision by."""

from __future__ import annotations

from dataclasses import dataclass

from onnxslim_snacs.activations.sources import CalibrationSource

#: Samples that are set aside to judge a decision: enough for a standard error of about one per
#: cent at 90 % agreement, and never more than this share of what there is; the automatic decision
#: has nothing else to go by, and is worth more of them.
HELD_OUT, SHARE, SHARE_AUTO = 512, 0.25, 0.5
#: Samples that are left for scoring as long as one is set aside.
LEAST = 8
#: Random samples that are set aside where nothing is decided by them: they tell little, and of a
#: model with so many multiply-accumulates a single one has to do.
RANDOM, HEAVY = 4, 10**9


@dataclass(frozen=True, slots=True)
class Samples:
    """Calibration data in two parts.

    Attributes:
        scoring: for scores, curves and recovery.
        judging: for what was decided; the same ones if there is a single sample.
    """

    scoring: CalibrationSource
    judging: CalibrationSource


def split(source: CalibrationSource, share: float = SHARE, macs: int = 0) -> Samples:
    """Set the last samples aside for judging.

    Args:
        source: all samples.
        share: at most this share of them is set aside.
        macs: multiply-accumulates of one sample.
    """
    total = source.samples
    most = HELD_OUT
    if source.is_random and share < SHARE_AUTO:
        most = 1 if macs > HEAVY else RANDOM
    aside = max(1, min(most, int(total * share), total - LEAST))
    if total < 2:
        return Samples(source, source)
    return Samples(source.part(0, total - aside), source.part(total - aside, total))
