"""A report or a table that was written as JSON, made a page."""

from __future__ import annotations

import json
import os
from pathlib import Path

from onnxslim_snacs.config.fields import checked
from onnxslim_snacs.config.plain import from_plain
from onnxslim_snacs.errors import InputRefused, UsageError, foreign
from onnxslim_snacs.model.atomic import new_file, sync_folder
from onnxslim_snacs.model.targets import check_targets
from onnxslim_snacs.model.text import read_text
from onnxslim_snacs.report.grid import rows_from_plain
from onnxslim_snacs.report.page import page
from onnxslim_snacs.report.report import report_from_json
from onnxslim_snacs.report.tables_page import rows_page, trials_page
from onnxslim_snacs.report.training import TrainingReport
from onnxslim_snacs.report.training_page import training_page
from onnxslim_snacs.report.trials import Trials

#: What a text raises that is no report, or one that contradicts itself.
_NO_REPORT = (
    *(UsageError, ValueError, RecursionError, LookupError, ArithmeticError),
    *(TypeError, AttributeError),
)


@checked
def write_page(report: Path | str, out: Path | str, *, overwrite: bool = False) -> None:
    """Write the page of a report.

    Args:
        report: what `--report` has written, or what `compare` and `sweep` keep in their folders
            (report.json, summary.json).
        out: where the page goes.
        overwrite: whether an existing file may be replaced.

    Raises:
        InputRefused: the file holds no report.
        FileSystemError: a file cannot be read or written.
    """
    report, out = Path(report), Path(out)
    check_targets((out,), (report,), overwrite=overwrite)
    put_page(_page(read_text(report), str(report)), out)


def put_page(text: str, out: Path) -> None:
    """Write a page into its place, whole or not at all."""
    with new_file(out) as file:
        file.write(text.encode("utf-8"))
        file.finish(out)
        os.replace(file.path, out)
    sync_folder(out.parent)


def _page(text: str, name: str) -> str:
    try:
        data = json.loads(text)
        told = data if isinstance(data, dict) else {}
        if "teacher" in told:
            return training_page(from_plain(TrainingReport, data, "report"))
        if "standings" in told:
            return trials_page(from_plain(Trials, data, "report"))
        if "rows" in told:
            return rows_page(rows_from_plain(data))
        return page(report_from_json(text, name))
    except _NO_REPORT as error:
        raise InputRefused(
            f"{foreign(name)}: not a report of snacs-onnx ({foreign(error)})"
        ) from error
