"""The files that a run writes, all or none."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from onnx import ModelProto

from onnxslim_snacs.errors import UsageError
from onnxslim_snacs.model.save import check_targets, save_model
from onnxslim_snacs.plan.plan import Plan, plan_to_json
from onnxslim_snacs.report.report import Report, to_json


@dataclass(frozen=True, slots=True)
class Outputs:
    """The files that a run writes, all or none.

    Attributes:
        source: the model that was read, which is never overwritten.
        model: where the result goes; None writes nothing.
        plan: where the plan goes, if anywhere.
        report: where the report goes, if anywhere.
        overwrite: whether existing files may be replaced.
    """

    source: Path
    model: Path | None
    plan: Path | None
    report: Path | None
    overwrite: bool

    @staticmethod
    def of(
        source: Path | str,
        model: Path | str | None,
        plan: Path | str | None,
        report: Path | str | None,
        *,
        overwrite: bool,
    ) -> Outputs:
        """Check that everything can be written, before any work goes into it.

        Raises:
            FileSystemError: something cannot.
        """
        if model is None and (plan is not None or report is not None):
            raise UsageError("plan and report are written together with the model: give `out`")
        places = tuple(None if place is None else Path(place) for place in (model, plan, report))
        check_targets(places, source, overwrite=overwrite)
        return Outputs(Path(source), places[0], places[1], places[2], overwrite)

    def write(self, model: ModelProto, plan: Plan, report: Report, base_dir: Path | None) -> None:
        """Write all files."""
        if self.model is None:
            return
        texts: dict[Path, str] = {}
        if self.plan is not None:
            texts[self.plan] = plan_to_json(plan)
        if self.report is not None:
            texts[self.report] = to_json(report)
        save_model(
            model,
            self.model,
            base_dir=base_dir,
            source=self.source,
            overwrite=self.overwrite,
            beside=texts,
        )
