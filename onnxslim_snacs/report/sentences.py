"""What was decided and why, in sentences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from onnxslim_snacs.config import Budget, CompressConfig, Drop, Ratio
from onnxslim_snacs.errors import foreign
from onnxslim_snacs.judge.drift import Drift
from onnxslim_snacs.report.make import WHAT
from onnxslim_snacs.report.phrases import proof_words, recovery_line, share
from onnxslim_snacs.report.report import GroupReport, Report

#: Below this share of unchanged answers a model is another one.
FAITHFUL = 0.9
_HOW = {
    "curves": "Each group gave up what its error curve says costs least for what it saves.",
    "uniform": "Every group gave up the same share.",
    "scores": "All units were ranked together by their scores.",
}


def alarm(drift: Drift | None) -> str:
    """What nobody may overlook about a result, "" if nothing."""
    if drift is None or drift.top1_agreement is None or not drift.is_telling:
        return ""
    if drift.top1_agreement >= FAITHFUL:
        return ""
    changed = 100 * (1 - drift.top1_agreement)
    return (
        f"THIS MODEL ANSWERS OTHERWISE: {changed:.0f} of 100 answers on held-out samples are not "
        "the original's. Ask for less (--target, --max-drop), train it further (`finetune`), or "
        "let --require 'agreement>=0.98' refuse such results"
    )


def decided(report: Report) -> Iterator[str]:
    """Why the model is as it is, a sentence or two for each step."""
    config = report.config
    simpler = report.notes.get("simplified")
    if isinstance(simpler, Mapping):
        before, after = simpler["nodes"]
        yield (
            f"onnxslim {simpler['onnxslim']} has simplified the model first, from {before} nodes "
            f"to {after}: the outputs differ by {simpler['difference']:.2g}, allowed is "
            f"{simpler['allowed']:.2g}."
        )
    if config is not None:
        yield _asked(report, config)
        yield _ordered(report, config)
    yield from _attempts(report)
    yield _taken(report.groups)
    exceeded = report.notes.get("limits_exceeded", {})
    if exceeded:
        yield (
            f"In {len(exceeded)} groups more went than the criterion advises: the budget was asked "
            "for and goes before its limits."
        )
    if report.recovery is not None:
        yield f"{_capital(recovery_line(report.recovery))}."
    if report.proof is not None:
        passed = "passed" if report.proof.passed else "FAILED"
        yield f"Proof ({report.proof.oracle}): {passed}, {proof_words(report.proof)}."
    made = WHAT[report.made]
    yield f"The model is {made}."


def _asked(report: Report, config: CompressConfig) -> str:
    goal = config.goal
    if isinstance(goal, Ratio):
        return f"Asked for: {100 * goal.share:g} % of the units of every group to go."
    if isinstance(goal, Drop):
        return (
            f"Asked for: as much to go as costs a drop of at most {100 * goal.most:g} % on samples "
            "that were held out, with a margin."
        )
    parts = [
        f"{name} at {100 * most:g} % ({_reached(report, name)})" for name, most in _budget(goal)
    ]
    return f"Asked for: {', '.join(parts)}."


def _budget(goal: Budget) -> list[tuple[str, float]]:
    return list(goal.shares.items())


def _reached(report: Report, name: str) -> str:
    if name == "latency":
        ratio = None if report.latency is None else report.latency.ratio
        return "not measured" if ratio is None else f"reached {100 * ratio:.1f} %"
    return f"reached {share(getattr(report.after, name), getattr(report.before, name))}"


def _ordered(report: Report, config: CompressConfig) -> str:
    drawn = "random inputs" if config.data.path is None else foreign(str(config.data.path))
    words = f"Units were ordered by the criterion {foreign(report.criterion)}, on {drawn}."
    if config.ratio is not None:
        return words
    return f"{words} {_HOW[config.allocation]}"


def _attempts(report: Report) -> Iterator[str]:
    allocations = noted(report, "allocations")
    errors = [each["rel_error"] for each in allocations if each["rel_error"] is not None]
    if errors:
        yield (
            f"{len(errors)} ways to share the cut between groups were re-fitted and compared: the "
            f"outputs' relative errors lie between {min(errors):.3f} and {max(errors):.3f}, and "
            "the best was taken."
        )
    tried = noted(report, "tried")
    if tried:
        yield f"{len(tried)} depths of the cut were tried and judged."
    multiples = report.notes.get("multiples", {})
    if multiples:
        parts = ", ".join(f"{step}: {100 * time:.0f} %" for step, time in multiples.items())
        yield f"Multiples of channels were timed, in shares of the original's time: {parts}."


def noted(report: Report, name: str) -> list[Mapping[str, Any]]:
    """A list among the notes, which have no types; nothing where there is none."""
    found = report.notes.get(name)
    return list(found) if isinstance(found, list | tuple) else []


def _taken(groups: tuple[GroupReport, ...]) -> str:
    lost = sorted(groups, key=lambda g: (g.kept - g.units) / max(1, g.units))
    whole = sum(g.kept == g.units for g in groups)
    most = [f"{named(g)} ({g.units} → {g.kept})" for g in lost[:3] if g.kept < g.units]
    if not most:
        return "Nothing was cut."
    stays = f"; {whole} of {len(groups)} groups stay whole" if whole else ""
    return f"Most was taken from {', '.join(most)}{stays}."


def named(group: GroupReport) -> str:
    """How a person would call a group."""
    return foreign(group.layer or group.label)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
