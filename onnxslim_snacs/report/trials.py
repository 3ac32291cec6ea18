"""Criteria, budgets and recoveries side by side, as data and as a table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean, stdev

import numpy as np
from numpy.typing import NDArray
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from onnxslim_snacs.errors import foreign
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


def make_trials(
    model: str, folder: str, trials: Sequence[TrialRun], scorings: Sequence[Scoring]
) -> Trials:
    """Put runs side by side."""
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
        model, folder, samples, is_top1, top1, tuple(rows), tuple(trials), tuple(scorings), told
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
        best = max(_value(row) for row in able)
        good = [row for row in able if best - _value(row) <= _slack(row, best)]
        choice = min(good, key=lambda row: (row.seconds, -_value(row)))
        found.append(
            f"{choice.criterion} with --recover {choice.recover} at {target} "
            f"({_words(_value(choice), is_top1=is_top1)} after {choice.seconds:.0f} s; "
            f"best: {_words(best, is_top1=is_top1)})"
        )
    if not found:
        return "Nothing that was tried gave a result."
    return f"The fastest good choice is {', and '.join(found)}."


def _slack(row: TrialRow, best: float) -> float:
    error = 0.0 if row.behind is None else row.behind[1]
    return max(2.0 * error, 0.1 * (1.0 - best)) + 1e-12


def print_trials(done: Trials, console: Console) -> None:
    """The standings as a table, and the advice."""
    console.print(escape(foreign(done.model)), soft_wrap=True)
    what = "agree" if done.is_top1 else "1 - error"
    for target in dict.fromkeys(row.target for row in done.standings):
        table = Table(box=SIMPLE_HEAD, title=escape(target), title_justify="left")
        columns = ["criterion", "recover", what, "rel. error"]
        columns += [f"top-1 of {100 * done.top1:.2f}"] if done.top1 is not None else []
        columns += ["behind"] if done.is_top1 else []
        for column in [*columns, "damage", "re-fitted", "s", ""]:
            table.add_column(column, justify="left" if column in columns[:2] else "right")
        rows = [row for row in done.standings if row.target == target]
        for row in sorted(rows, key=lambda r: -_value(r)):
            table.add_row(*_cells(row, done))
        console.print(table)
    console.print(escape(foreign(done.advice)), soft_wrap=True)
    console.print(
        f"compared on {done.samples} samples; *: nothing is both quicker and better; damage: rank "
        "correlation of scores with the error of taking single units away, raw and re-fitted",
        soft_wrap=True,
    )
    console.print(f"written: {escape(foreign(done.folder))}", soft_wrap=True)


def _cells(row: TrialRow, done: Trials) -> list[str]:
    head = [escape(row.criterion), row.recover]
    if row.good is None:
        return [*head, escape(foreign(row.error))]
    cells = [*head, _spread(row.good, 100), _spread(row.rel_error, 1)]
    cells += [_spread(row.top1, 100)] if done.top1 is not None else []
    cells += [_spread(row.behind, 100)] if done.is_top1 else []
    cells += [_number(row.damage), _number(row.damage_refit), f"{row.seconds:.1f}"]
    return [*cells, "*" if row.best else ""]


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
        criterion,
        target,
        recover,
        len(runs),
        mean_spread(_good(t, is_top1=is_top1) for t in runs),
        mean_spread(_over(t, "rel_error") for t in runs),
        mean_spread(accuracies) if accuracies else None,
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
    beaten = any(
        r.seconds <= row.seconds and _value(r) >= _value(row) for r in rivals if r is not row
    )
    first = max(rivals, key=_value)
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


def _value(row: TrialRow) -> float:
    return float("-inf") if row.good is None else row.good[0]


def _words(good: float, *, is_top1: bool) -> str:
    return f"{100 * good:.1f} % agree" if is_top1 else f"error {1.0 - good:.3g}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _spread(value: tuple[float, float] | None, scale: float) -> str:
    if value is None:
        return ""
    digits = 2 if scale == 100 else 4
    mean, spread = (scale * number for number in value)
    return f"{mean:.{digits}f}" + (f" ± {spread:.{digits}f}" if spread else "")
