"""By what a model was made, written down in it: it must be recognisable years later."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from onnx import ModelProto

from onnxslim_snacs.plan.plan import Plan
from onnxslim_snacs.plan.written import plan_to_json
from onnxslim_snacs.report.report import Report

_OURS = "snacs-onnx."
_VERSION, _PLAN, _KEPT, _MADE, _EARLIER = (
    f"{_OURS}{name}" for name in ("version", "plan", "kept", "made", "earlier")
)


def plan_digest(plan: Plan) -> str:
    """SHA-256 of a plan as it is written, without its source, sizes and what came after the cut.

    Plans of the first format do not say those, and are the same plans.
    """
    cut = replace(plan, refit=None, tuned=None, sizes={}, source="")
    return hashlib.sha256(plan_to_json(cut).encode()).hexdigest()


def tied(report: Report, plan: Plan) -> Report:
    """The report with the digest of its plan, which the model has among its notes as well."""
    return replace(report, notes={**report.notes, "plan": plan_digest(plan)})


def sign(model: ModelProto, plan: Plan, report: Report) -> None:
    """Note tool, version, digest of the plan and shares kept in a model's metadata.

    What an earlier run has noted gives way; the digest of its plan stays.
    """
    old = {entry.key: entry.value for entry in model.metadata_props}
    earlier = " ".join(old[key] for key in (_EARLIER, _PLAN) if key in old)
    kept = (
        f"{name}={getattr(report.after, name) / max(1, getattr(report.before, name)):.4f}"
        for name in ("params", "macs", "bytes")
    )
    notes = {
        _VERSION: report.versions.get("onnxslim-snacs", ""),
        _PLAN: plan_digest(plan),
        _KEPT: " ".join(kept),
        _MADE: report.made,
        **({_EARLIER: earlier} if earlier else {}),
    }
    others = [(key, value) for key, value in old.items() if not key.startswith(_OURS)]
    del model.metadata_props[:]
    for key, value in (*others, *notes.items()):
        model.metadata_props.add(key=key, value=value)


def other_plan(model: ModelProto, plan: Plan) -> bool:
    """Whether a model says that it was made by another plan than this."""
    noted = {entry.key: entry.value for entry in model.metadata_props}.get(_PLAN, "")
    return noted not in ("", plan_digest(plan))
