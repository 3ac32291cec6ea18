"""The files that a run writes, all or none."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from onnx import ModelProto

from onnxslim_snacs.commands.start import Compressed
from onnxslim_snacs.errors import UsageError
from onnxslim_snacs.model.external import external_files
from onnxslim_snacs.model.graph import ModelGraph
from onnxslim_snacs.model.save import save_model
from onnxslim_snacs.model.stored import stored_tensors
from onnxslim_snacs.model.targets import check_targets
from onnxslim_snacs.plan.written import plan_to_json
from onnxslim_snacs.progress import Clock, Progress
from onnxslim_snacs.report.page import page
from onnxslim_snacs.report.report import to_json

#: Told what a run gives before its files are written.
Told = Callable[[Compressed], None]


def nobody(done: Compressed) -> None:
    """A result that nobody waits for."""


@dataclass(frozen=True, slots=True)
class Outputs:
    """The files that a run writes, all or none.

    Attributes:
        inputs: the files that were read, which are never overwritten.
        model: where the result goes; None writes nothing.
        plan: where the plan goes, if anywhere.
        report: where the report goes, if anywhere.
        html: where the report goes as a page, if anywhere.
        overwrite: whether existing files may be replaced.
    """

    inputs: tuple[Path, ...]
    model: Path | None
    plan: Path | None
    report: Path | None
    html: Path | None
    overwrite: bool

    @staticmethod
    def of(
        source: Path | str | None,
        graph: ModelGraph,
        *,
        model: Path | str | None,
        plan: Path | str | None = None,
        report: Path | str | None = None,
        html: Path | str | None = None,
        overwrite: bool,
        inputs: Iterable[Path] = (),
    ) -> Outputs:
        """Check that everything can be written, before any work goes into it.

        Args:
            source: the file of the model; None if it was given in memory.
            graph: what was read.
            model: where the result goes.
            plan: where the plan goes.
            report: where the report goes.
            html: where the report goes as a page.
            overwrite: whether existing files may be replaced.
            inputs: what is read beside the model: its data, a plan.

        Raises:
            FileSystemError: something cannot.
        """
        if model is None and any(place is not None for place in (plan, report, html)):
            raise UsageError("plan and report are written together with the model: give `out`")
        own = () if source is None else (Path(source),)
        read = (*own, *weight_files(graph), *inputs)
        made = Outputs(
            inputs=read,
            model=_path(model),
            plan=_path(plan),
            report=_path(report),
            html=_path(html),
            overwrite=overwrite,
        )
        places = (made.model, made.plan, made.report, made.html)
        check_targets(places, read, overwrite=overwrite)
        return made

    def write(
        self, done: Compressed, base_dir: Path | None, clock: Clock, progress: Progress, told: Told
    ) -> None:
        """Write all files.

        They are written when `told` is through with the result: who cannot be told, since the disk
        is full, finds nothing changed.

        Args:
            done: the result.
            base_dir: folder of external data that its model refers to.
            clock: notes how long writing took.
            progress: told of the stage "write" when it begins.
            told: told the result before that.
        """
        told(done)
        if self.model is None:
            return
        texts: dict[Path, str] = {}
        if self.plan is not None:
            texts[self.plan] = plan_to_json(done.plan)
        if self.report is not None:
            texts[self.report] = to_json(done.report)
        if self.html is not None:
            texts[self.html] = page(done.report)
        progress("write", 0, 1)
        with clock.stage("write"):
            self.put(done.model, base_dir, texts)

    def put(
        self, model: ModelProto, base_dir: Path | None, beside: Mapping[Path, str] | None = None
    ) -> None:
        """Write a model and texts beside it, all or none; nothing if the model has no place.

        Args:
            model: the model.
            base_dir: folder of external data that it refers to.
            beside: place -> text.

        Raises:
            FileSystemError: somebody has written there meanwhile, or the disk is full.
        """
        if self.model is not None:
            save_model(
                model,
                self.model,
                base_dir=base_dir,
                inputs=self.inputs,
                overwrite=self.overwrite,
                beside=beside,
            )


def weight_files(graph: ModelGraph) -> tuple[Path, ...]:
    """The files that hold weights of a model beside its own."""
    stored = (tensor for _, tensor in stored_tensors(graph.proto))
    return tuple(external_files(stored, graph.base_dir or Path()))


def _path(place: Path | str | None) -> Path | None:
    return None if place is None else Path(place)
