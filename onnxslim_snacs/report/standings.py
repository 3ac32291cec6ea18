"""Runs side by side: where each stands among those with its budget, and which one to take."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from statistics import fmean, stdev

import numpy as np
from numpy.typing import NDArray

from onnxslim_snacs.judge.drift import Drift
from onnxslim_snacs.report.trials import Scoring, TrialRow, TrialRun, Trials


def make_trials(
    model: str, folder: str, trials: Sequence[TrialRun], scorings: Sequence[Scoring]
) -> Trials:
    """Put runs side by side.

    Args:
        model: its path.
        folder: where everything lies.
        trials: every run.
        scorings: every criterion with each of its seeds.
    """
    seen = [t for t in trials if t.drift is not None]
    drifts = [drift for t in seen for drift in _judged(t)]
    is_top1 = bool(drifts) and all(d.top1_agreement is not None for d in drifts)
    keys = dict.fromkeys((t.target, t.criterion, t.recover) for t in trials)
    rows = [_standing(key, trials, scorings, is_top1=is_top1) for key in keys]
    rows = [_placed(row, rows, trials) for row in rows]
    samples = max((sum(d.samples for d in _judged(t)) for t in seen), default=0)
    known = [(d.accuracy_before, d.samples) for d in (_judged(seen[0]) if seen else [])]
    top1 = _weighted((a, n) for a, n in known if a is not None)
    told = advice(rows, is_top1=is_top1)
    return Trials(
        model=model,
        folder=folder,
        samples=samples,
        is_top1=is_top1,
        top1=top1,
        standings=tuple(rows),
        trials=tuple(trials),
        scorings=tuple(scorings),
        advice=told,
    )


def advice(rows: Sequence[TrialRow], *, is_top1: bool) -> str:
    """For each budget the quickest choice that is about as good as the best one.

    That is: it lies behind by no more than two standard errors of the difference, taken sample by
    sample, or by no more than a tenth of what the best one gets wrong.
    """
    found = []
    for target in dict.fromkeys(row.target for row in rows):
        able = [row for row in rows if row.target == target and row.good is not None]
        if not able:
            continue
        best = max(row.value for row in able)
        good = [row for row in able if best - row.value <= _slack(row, best)]
        choice = min(good, key=lambda row: (row.seconds, -row.value))
        found.append(
            f"{choice.criterion} with --recover {choice.recover} at {target} "
            f"({_words(choice.value, is_top1=is_top1)} after {choice.seconds:.0f} s; "
            f"best: {_words(best, is_top1=is_top1)})"
        )
    if not found:
        return "Nothing that was tried gave a result."
    return f"The fastest good choice is {', and '.join(found)}."


def _slack(row: TrialRow, best: float) -> float:
    error = 0.0 if row.behind is None else row.behind[1]
    return max(2.0 * error, 0.1 * (1.0 - best)) + 1e-12


def _standing(
    key: tuple[str, str, str],
    trials: Sequence[TrialRun],
    scorings: Sequence[Scoring],
    *,
    is_top1: bool,
) -> TrialRow:
    target, criterion, recover = key
    mine = [t for t in trials if (t.target, t.criterion, t.recover) == key]
    runs = [t for t in mine if t.drift is not None]
    if not runs:
        return TrialRow(criterion, target, recover, error=mine[0].error)
    scored = [s for s in scorings if s.criterion == criterion]
    accuracies = [a for t in runs if (a := _accuracy(t)) is not None]
    asked = target.split(",")[0].split("=")[0]
    return TrialRow(
        criterion=criterion,
        target=target,
        recover=recover,
        runs=len(runs),
        good=mean_spread(_good(t, is_top1=is_top1) for t in runs),
        rel_error=mean_spread(_over(t, "rel_error") for t in runs),
        top1=mean_spread(accuracies) if accuracies else None,
        seconds=fmean(t.seconds for t in runs) + _mean(s.seconds for s in scored),
        kept=fmean(t.kept.get(asked, 1.0) for t in runs),
        damage=_mean_or_none(s.damage for s in scored),
        damage_refit=_mean_or_none(s.damage_refit for s in scored),
    )


def mean_spread(values: Iterable[float]) -> tuple[float, float]:
    """Mean and standard deviation; 0 for a single value."""
    several = list(values)
    return fmean(several), stdev(several) if len(several) > 1 else 0.0


def _placed(row: TrialRow, rows: Sequence[TrialRow], trials: Sequence[TrialRun]) -> TrialRow:
    """How far a row lies behind the best of its budget, and whether anything beats it."""
    if row.good is None:
        return row
    rivals = [r for r in rows if r.target == row.target and r.good is not None]
    beaten = any(r.seconds <= row.seconds and r.value >= row.value for r in rivals if r is not row)
    first = max(rivals, key=lambda row: row.value)
    mine, theirs = (_mean_hits(r, trials) for r in (row, first))
    behind = None
    if mine is not None and theirs is not None and mine.shape == theirs.shape:
        gap = theirs - mine
        behind = (float(gap.mean()), float(gap.std(ddof=1)) / max(1, gap.size) ** 0.5)
    return replace(row, behind=behind, best=not beaten)


def _mean_hits(row: TrialRow, trials: Sequence[TrialRun]) -> NDArray[np.float64] | None:
    """(samples,) how often each answer is the original's, over the seeds."""
    key = (row.target, row.criterion, row.recover)
    hits = [t.agrees for t in trials if (t.target, t.criterion, t.recover) == key]
    known = [h for h in hits if h is not None]
    if not known or len({h.size for h in known}) > 1 or known[0].size < 2:
        return None
    mean: NDArray[np.float64] = np.mean(known, axis=0)
    return mean


def _judged(trial: TrialRun) -> list[Drift]:
    """What a run is judged by: further samples if there are some."""
    held = [] if trial.drift is None else [trial.drift]
    return list(trial.tests.values()) or held


def _over(trial: TrialRun, key: str) -> float:
    """Mean over all samples that a run is judged by."""
    found = _weighted((getattr(d, key), d.samples) for d in _judged(trial))
    return 0.0 if found is None else found


def _accuracy(trial: TrialRun) -> float | None:
    known = [(d.accuracy_after, d.samples) for d in _judged(trial)]
    return _weighted((a, n) for a, n in known if a is not None)


def _good(trial: TrialRun, *, is_top1: bool) -> float:
    return _over(trial, "top1_agreement") if is_top1 else 1.0 - _over(trial, "rel_error")


def _weighted(values: Iterable[tuple[float, int]]) -> float | None:
    several = list(values)
    total = sum(n for _, n in several)
    return sum(v * n for v, n in several) / total if total else None


def _mean(values: Iterable[float]) -> float:
    several = list(values)
    return fmean(several) if several else 0.0


def _mean_or_none(values: Iterable[float | None]) -> float | None:
    several = [value for value in values if value is not None]
    return fmean(several) if several else None


def _words(good: float, *, is_top1: bool) -> str:
    return f"{100 * good:.1f} % agree" if is_top1 else f"error {1.0 - good:.3g}"
