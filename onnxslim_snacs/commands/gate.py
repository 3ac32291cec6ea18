"""What a result has to be worth before it is written."""

from __future__ import annotations

from collections.abc import Iterable

from onnxslim_snacs.config.requirements import Requirement, requirement
from onnxslim_snacs.errors import RequirementMissed
from onnxslim_snacs.report.report import Report


def require_worth(report: Report, texts: Iterable[str]) -> None:
    """Hold a result against what was asked of it.

    Args:
        report: on the result.
        texts: conditions, as they are typed.

    Raises:
        RequirementMissed: one of them does not hold, or what it is about is not known.
    """
    missed = [said for text in texts if (said := _missed(report, requirement(text)))]
    if missed:
        raise RequirementMissed(f"{'; '.join(missed)}; nothing was written")


def _missed(report: Report, wanted: Requirement) -> str:
    """What is wrong, "" if nothing is."""
    value = value_of(report, wanted.name)
    if value is None:
        return f"--require {wanted.words}: {_UNKNOWN[wanted.name]}"
    if wanted.holds(value):
        return ""
    return f"--require {wanted.words}: the result has {value:.4g}{_spread(report, wanted.name)}"


def value_of(report: Report, name: str) -> float | None:
    """What a condition is about; None if it is not known."""
    drift = report.drift
    if name in ("params", "macs", "bytes"):
        left: float = getattr(report.after, name) / max(1, getattr(report.before, name))
        return left
    if name == "latency":
        return None if report.latency is None else report.latency.ratio
    if drift is None:
        return None
    if name == "agreement":
        return drift.top1_agreement if drift.is_telling else None
    if name == "error":
        return drift.rel_error
    return drift.metric_after if name == "metric" else drift.accuracy_after


_UNKNOWN = {
    "agreement": "it is not known: the model gives no classes, or the samples say nothing of it "
    "(give some of real data, --data)",
    "accuracy": "it is not known: there are no labels among the samples",
    "metric": "it is not known: --judge names what measures it",
    "error": "it is not known: the model could not be run",
    "latency": "it was not measured: --target latency=SHARE does",
}


def _spread(report: Report, name: str) -> str:
    drift = report.drift
    if name != "agreement" or drift is None or drift.standard_error is None:
        return ""
    return f" ± {drift.standard_error:.2g} on {drift.samples} held-out samples"
