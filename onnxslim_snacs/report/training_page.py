"""What training did, as a page."""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite
from pathlib import Path
from xml.etree.ElementTree import Element

from onnxslim_snacs.errors import foreign
from onnxslim_snacs.report.markup import Child, document, el, table
from onnxslim_snacs.report.page import section, settings
from onnxslim_snacs.report.pictures import line_picture
from onnxslim_snacs.report.training import TrainingReport, removed_line


def training_page(report: TrainingReport) -> str:
    """The report of `finetune` as HTML."""
    return document(
        f"{foreign(Path(report.model).name)} · snacs-onnx finetune",
        el("h1", foreign(Path(report.model).name), " trained by the original"),
        el("p", foreign(report.output or "nothing was written"), class_="faint path"),
        None
        if report.improved
        else el("p", f"The model is the one that came in: {report.why}", class_="alarm"),
        *section("Before and after", table(("", "before", "after"), _rows(report))),
        *section("What happened", el("p", _sentence(report)), *_removed(report)),
        *_curves(report),
        *settings(report.config, report.command, report.versions, report.timings, ()),
    )


def _rows(report: TrainingReport) -> list[tuple[Child, ...]]:
    before, after = report.before, report.after
    rows: list[tuple[Child, ...]] = [
        ("error of the answers", *(f"{error:.4f}" for error in report.logit_error)),
        ("error of the outputs", f"{before.rel_error:.4f}", f"{after.rel_error:.4f}"),
    ]
    for words, key in (("answers as the teacher's", "top1_agreement"), ("right", "accuracy_after")):
        pair = [getattr(drift, key) for drift in (before, after)]
        if None not in pair:
            rows.append((words, *(f"{100 * share:.2f} %" for share in pair)))
    return rows


def _removed(report: TrainingReport) -> Iterator[Element]:
    if report.removed is not None:
        yield el("p", removed_line(report.removed))


def _sentence(report: TrainingReport) -> str:
    trained, held = report.samples
    ended = f"; it ended before its time: {report.stopped}" if report.stopped else ""
    return (
        f"{report.steps} steps in {report.seconds:.0f} s on {trained} samples, compared on {held} "
        f"that were held out{ended}. The teacher is {foreign(report.teacher)}."
    )


def _curves(report: TrainingReport) -> Iterator[Element]:
    errors = [(float(step), error) for step, error, _ in report.curve if isfinite(error)]
    agreed = [(float(step), share) for step, _, share in report.curve if share is not None]
    figures = [
        el("figure", line_picture(points, words), el("figcaption", words))
        for points, words in ((errors, "error by step"), (agreed, "agreement by step"))
        if len(points) > 1
    ]
    if figures:
        yield from section("On samples that were held out", el("div", *figures, class_="curves"))
