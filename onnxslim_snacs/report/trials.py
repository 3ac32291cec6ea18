"""Criteria, budgets and recoveries side by side, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from onnxslim_snacs.judge.drift import Drift


@dataclass(frozen=True, slots=True)
class TrialRun:
    """One run.

    Attributes:
        criterion: its name, with options behind colons.
        target: the budget.
        recover: how accuracy was to be recovered.
        seed: of the run.
        error: why there is no result, "" if there is one.
        used: the recovery whose result was kept.
        kept: params, macs and bytes -> share that is left.
        seconds: of deciding, cutting, proving and recovering, without scoring.
        drift: distance from the original on held-out samples.
        tests: path -> the same on further samples.
        hits: whether each answer is the original's, on all further samples, or on those that were
            held out if there are none: bits as hexadecimal digits; "" without classes.
        counted: how many answers that are.
        plan: file of the plan, for `apply`.
    """

    criterion: str
    target: str
    recover: str
    seed: int
    error: str = ""
    used: str = ""
    kept: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    drift: Drift | None = None
    tests: Mapping[str, Drift] = field(default_factory=dict)
    hits: str = ""
    counted: int = 0
    plan: str = ""

    @property
    def agrees(self) -> NDArray[np.float64] | None:
        """(samples,) 1 where the answer is the original's, else 0; None without classes."""
        if not self.counted:
            return None
        packed = np.frombuffer(bytes.fromhex(self.hits), dtype=np.uint8)
        return np.unpackbits(packed, count=self.counted).astype(np.float64)


@dataclass(frozen=True, slots=True)
class Scoring:
    """One criterion with one seed.

    Attributes:
        criterion: its name, with options behind colons.
        seed: of the run.
        seconds: that scores took.
        damage: rank correlation of scores with the error that taking single units away causes.
        damage_refit: the same with the error after a re-fit of what reads them.
        error: why there are no scores, "" if there are.
    """

    criterion: str
    seed: int
    seconds: float = 0.0
    damage: float | None = None
    damage_refit: float | None = None
    error: str = ""


@dataclass(frozen=True, slots=True)
class TrialRow:
    """A criterion with a budget and a recovery, over its seeds.

    Attributes:
        criterion: its name, with options behind colons.
        target: the budget.
        recover: how accuracy was to be recovered.
        runs: how many seeds there are.
        good: (mean, spread) over the seeds of what is compared, higher is better: the share of
            answers that agree with the original's, or 1 - relative error without classes; on
            further samples if there are some.
        rel_error: (mean, spread) of the relative error there.
        top1: (mean, spread) of the accuracy there, where labels are known.
        behind: (mean, standard error) of how many more answers of the best one with the same
            budget are right, sample by sample.
        seconds: mean of all that a run takes.
        kept: mean share that is left of what the budget is about.
        damage: as of `Scoring`, the mean.
        damage_refit: likewise.
        best: whether nothing of the same budget is both quicker and better.
        error: why there is nothing.
    """

    criterion: str
    target: str
    recover: str
    runs: int = 0
    good: tuple[float, float] | None = None
    rel_error: tuple[float, float] | None = None
    top1: tuple[float, float] | None = None
    behind: tuple[float, float] | None = None
    seconds: float = 0.0
    kept: float = 1.0
    damage: float | None = None
    damage_refit: float | None = None
    best: bool = False
    error: str = ""

    @property
    def value(self) -> float:
        """What rows are ranked by, higher is better."""
        return float("-inf") if self.good is None else self.good[0]


@dataclass(frozen=True, slots=True)
class Trials:
    """All runs on one model.

    Attributes:
        model: its path.
        folder: where everything lies.
        samples: samples that results were compared on.
        is_top1: whether what is compared is agreement of answers, and not error.
        top1: the original's accuracy, where labels are known.
        standings: one for each criterion, budget and recovery.
        trials: every run.
        scorings: every criterion.
        advice: the fastest good choice, in one sentence.
    """

    model: str
    folder: str
    samples: int
    is_top1: bool
    top1: float | None
    standings: tuple[TrialRow, ...]
    trials: tuple[TrialRun, ...]
    scorings: tuple[Scoring, ...]
    advice: str
