"""One run of a sweep: what it is to do, what came of it, and where that is kept."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

from onnxslim_snacs.commands.compress import compress
from onnxslim_snacs.commands.run_store import RunStore, plain_name
from onnxslim_snacs.config import CompressConfig
from onnxslim_snacs.errors import FileSystemError, SnacsError, foreign
from onnxslim_snacs.report.grid import Row
from onnxslim_snacs.report.report import Report

#: Settings that change how a run is made and not what comes of it.
_ASIDE = ("provider", "arithmetic")


@dataclass(frozen=True, slots=True)
class Cell:
    """One run.

    Attributes:
        model: path of the model.
        goal: what is to be reached, as it was asked for.
        config: everything that `compress` is told.
        folder: where what comes of it is kept.
        key: digest of model, data and settings: the same key, the same run.
    """

    model: str
    goal: str
    config: CompressConfig
    folder: str
    key: str

    @property
    def name(self) -> str:
        """The name of its files, without their ending."""
        words = (Path(self.model).stem, self.goal, self.config.criterion, self.key[:8])
        return ".".join(map(plain_name, words))

    @property
    def store(self) -> RunStore:
        """Where rows are kept."""
        return RunStore(Path(self.folder) / "runs")


def key_of(model: Path, config: CompressConfig) -> str:
    """The digest of a model's file and of settings.

    Raises:
        FileSystemError: the file cannot be read.
    """
    try:
        with model.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256")
    except OSError as error:
        raise FileSystemError(f"{model}: {error.strerror}") from error
    settings = {k: v for k, v in asdict(config).items() if k not in _ASIDE}
    digest.update(json.dumps([str(model), settings], sort_keys=True, default=str).encode())
    return digest.hexdigest()


def kept_row(cell: Cell) -> Row | None:
    """What is known of a run that was made before; None if it has to be made."""
    row = cell.store.find_as(Row, cell.name, cell.key)
    return None if row is None or (row.output and not Path(row.output).exists()) else row


def run_cell(cell: Cell) -> Row:
    """Make a run and keep what came of it; a refusal is an outcome as well."""
    start = perf_counter()
    row = replace(_outcome(cell), seconds=perf_counter() - start)
    if row.code != 1:  # a fault of ours is tried again
        cell.store.put(cell.name, cell.key, row)
    return row


def blank_row(cell: Cell, code: int, reason: str) -> Row:
    """The row of a run that wrote nothing."""
    config = cell.config
    return Row(cell.model, cell.goal, config.criterion, config.recover, code, reason)


def _outcome(cell: Cell) -> Row:
    place = Path(cell.folder) / f"{cell.name}.onnx"
    try:
        done = compress(
            cell.model,
            cell.config,
            out=place,
            plan_out=place.with_suffix(".plan.json"),
            report_out=place.with_suffix(".report.json"),
            overwrite=True,
        )
    except SnacsError as error:
        return blank_row(cell, error.exit_code, str(error))
    except MemoryError:
        return blank_row(cell, 7, "not enough memory")
    except Exception as error:
        return blank_row(cell, 1, f"internal error: {type(error).__name__}: {foreign(error)}")
    return _filled(blank_row(cell, 0, ""), done.report, str(place))


def _filled(row: Row, report: Report, place: str) -> Row:
    before, after = asdict(report.before), asdict(report.after)
    shares: Mapping[str, Any] = {
        name: after[name] / before[name] if before[name] else None
        for name in ("params", "macs", "bytes")
    }
    moved = report.drift
    latency = None if report.latency is None else report.latency.ratio
    row = replace(row, **shares, latency=latency, output=place)
    if moved is None:
        return row
    return replace(
        row,
        rel_error=moved.rel_error,
        agreement=moved.top1_agreement,
        standard_error=moved.standard_error,
        accuracy_before=moved.accuracy_before,
        accuracy_after=moved.accuracy_after,
    )
