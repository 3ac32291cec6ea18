"""What a run gives, and how long its stages took."""

from __future__ import annotations

from dataclasses import dataclass

from onnx import ModelProto

from onnxslim_snacs.plan.plan import Plan
from onnxslim_snacs.report.report import Report


@dataclass(frozen=True, slots=True)
class Compressed:
    """What `compress` gives.

    Attributes:
        model: the smaller model.
        plan: what was cut.
        report: what happened.
    """

    model: ModelProto
    plan: Plan
    report: Report
