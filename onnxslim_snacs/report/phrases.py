"""What a report says in one line each."""

from __future__ import annotations

from rich.markup import escape

from onnxslim_snacs.errors import foreign
from onnxslim_snacs.judge.drift import Drift
from onnxslim_snacs.proof.outcome import Proof
from onnxslim_snacs.recovery.accept import RecoveryReport
from onnxslim_snacs.report.make import NO_DATA
from onnxslim_snacs.report.report import (
    DroppedReport,
    Report,
    TunedReport,
)


def tuned_line(tuned: TunedReport) -> str:
    """One sentence on training at the end."""
    ended = f", {tuned.stopped}" if tuned.stopped else ""
    line = f"training: {tuned.steps} steps in {tuned.seconds:.0f} s{ended}"
    if not tuned.improved:
        return f"{line}; the model is the one before: {tuned.why}"
    return f"{line}; before: {drift_words(tuned.before)}"


def dropped_line(dropped: DroppedReport) -> str:
    """One sentence on whole blocks."""
    ends = ", ".join(escape(foreign(end)) for end, _ in dropped.blocks)
    line = f"blocks ({dropped.order}): {len(dropped.blocks)} of {dropped.found} dropped"
    if dropped.proof is None:
        return line
    difference = f"max relative difference {dropped.proof.max_rel_diff:.2g}"
    return f"{line} ({ends}); proof (zeros in their place): passed, {difference}"


def proof_words(proof: Proof) -> str:
    """What a proof has found, in words."""
    own = f"the model's own rounding noise: {proof.noise:.2g}, " if proof.noise else ""
    words = (
        f"max relative difference {proof.max_rel_diff:.2g} ({own}allowed: {proof.tolerance:.2g})"
    )
    if proof.end_to_end is not None:
        words += (
            f", node by node, for end to end the model turns rounding into {proof.end_to_end:.2g}"
        )
    if proof.range_diff:
        words += f"; {proof.range_diff:.2g} of it is the range of dynamic quantisers"
    return f"{words}, {sizes_line(proof)}"


def drift_line(report: Report) -> str:
    """One sentence on the distance from the original."""
    drift = report.drift
    assert drift is not None
    if NO_DATA in report.warnings:
        return f"on {drift.samples} random samples, which tell little: {drift_words(drift)}"
    return f"on {drift.samples} held-out samples: {drift_words(drift)}"


def drift_words(drift: Drift) -> str:
    """A distance in words."""
    parts = [f"relative error {drift.rel_error:.3f}"]
    if drift.top1_agreement is not None and drift.standard_error is not None:
        parts.append(f"top-1 agreement {drift.top1_agreement:.4f} ± {drift.standard_error:.4f}")
    if drift.blend_risk is not None:
        parts.append(f"{1 - drift.blend_risk:.4f} on samples mixed in pairs")
    return ", ".join(parts)


def recovery_line(recovery: RecoveryReport) -> str:
    """One sentence on what recovery did."""
    if recovery.used == "none":
        return f"recovery ({recovery.asked}): none{f', {r}' if (r := recovery.reason) else ''}"
    if not recovery.layers:
        words = "" if recovery.raw is None else f"; the raw cut: {drift_words(recovery.raw)}"
        return f"recovery ({recovery.used}): trained at the ends of blocks{words}"
    kept = sum(layer.kept for layer in recovery.layers)
    tried = sum(layer.target != "" for layer in recovery.layers)
    raw = recovery.raw
    before = "" if raw is None else f"; the raw cut: {drift_words(raw)}"
    return f"recovery ({recovery.used}): {kept} of {tried} layers re-fitted{before}"


def share(part: float, whole: float) -> str:
    """`part` of `whole` in per cent."""
    return f"{100 * part / whole:.1f} %" if whole else "-"


def sizes_line(proof: Proof) -> str:
    """At how many sizes of the inputs a proof has looked, and which extent it could not vary."""
    count = len({tuple(sorted(sizes.items())) for sizes in proof.sizes})
    line = f"at {count} size{'s' if count != 1 else ''} of the inputs"
    if not proof.unvaried:
        return line
    return f"{line}; not varied, so that nothing is proved at others: {', '.join(proof.unvaried)}"
