"""What a run gives, and how long its stages took."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter

from onnx import ModelProto

from onnxslim_snacs.plan.plan import Plan
from onnxslim_snacs.report.report import Report


@dataclass(slots=True)
class Clock:
    """Seconds by stage."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time that the block takes to a stage."""
        start = perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + perf_counter() - start


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
