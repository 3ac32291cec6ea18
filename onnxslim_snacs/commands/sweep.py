"""Many runs: models x goals x criteria, in as many processes as there are, and a table of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from glob import glob, has_magic
from itertools import product
from pathlib import Path

from onnxslim_snacs.cluster.workers import Lost, run_on
from onnxslim_snacs.commands.cells import Cell, blank_row, kept_row, key_of, run_cell
from onnxslim_snacs.commands.run_store import make_folder
from onnxslim_snacs.config import Budget, CompressConfig, Goal, Ratio
from onnxslim_snacs.config.fields import checked
from onnxslim_snacs.errors import UsageError, foreign
from onnxslim_snacs.model.atomic import put_text
from onnxslim_snacs.progress import Progress, silent
from onnxslim_snacs.report.grid import Row, rows_to_csv, rows_to_json


@checked
def sweep(
    models: Sequence[str],
    config: CompressConfig | None = None,
    *,
    out: Path | str,
    goals: Sequence[Goal] = (),
    criteria: Sequence[str] = (),
    jobs: int = 1,
    cluster: str | None = None,
    progress: Progress = silent,
) -> tuple[Row, ...]:
    """Compress every model to every goal by every criterion, and tabulate what comes of it.

    Each run is kept in `out` with its model, plan and report as soon as it ends, so that a sweep
    that was interrupted goes on where it was; `out/summary.json` and `out/summary.csv` hold the
    table.  A run is known by the model's file, the settings and the path of the data, not by what
    the data hold.

    Args:
        models: files, folders (every .onnx in them), or patterns such as `models/**/*.onnx`.
        config: what all runs have in common; in the path of its data, `{stem}` stands for the name
            of the model's file without its ending and `{folder}` for where it lies.
        out: folder of the results; made if it is not there.
        goals: what is to be reached; none for that of `config`.
        criteria: names; none for that of `config`.
        jobs: runs at a time on this machine.
        cluster: instead, the address of a Dask scheduler whose workers see the same files, or
            `local:N`.
        progress: told ("runs", done, total).

    Returns:
        A row for each run, by model, goal and criterion.

    Raises:
        UsageError: there is no model, a value is wrong, or no cluster answers.
        FileSystemError: a file cannot be read or written.
    """
    if jobs < 1:
        raise UsageError(f"jobs: expected at least 1, got {jobs}")
    folder = Path(out)
    make_folder(folder)
    found = find_models(models, but=folder)
    cells = _cells(found, config or CompressConfig(), goals, criteria, folder)
    rows = {number: row for number, cell in enumerate(cells) if (row := kept_row(cell)) is not None}
    left = [number for number in range(len(cells)) if number not in rows]
    progress("runs", len(rows), len(cells))
    for at, result in run_on(cluster, jobs, run_cell, [cells[number] for number in left]):
        number = left[at]
        if isinstance(result, Lost):
            result = blank_row(cells[number], 7, result.reason)
        rows[number] = result
        progress("runs", len(rows), len(cells))
    table = tuple(rows[number] for number in range(len(cells)))
    put_text(folder / "summary.json", rows_to_json(table))
    put_text(folder / "summary.csv", rows_to_csv(table))
    return table


def find_models(named: Iterable[str], *, but: Path) -> tuple[Path, ...]:
    """The files that names, folders and patterns stand for, each once, in order.

    Args:
        named: files, folders or patterns.
        but: a folder whose models are results and not meant.

    Raises:
        UsageError: one of them stands for nothing.
    """
    found: dict[Path, None] = {}
    aside = but.resolve()
    for text in named:
        paths = [p for p in _meant(text) if aside not in p.resolve().parents]
        if not paths:
            raise UsageError(f"{foreign(text)}: no .onnx file there")
        found.update(dict.fromkeys(paths))
    if not found:
        raise UsageError("no models: expected files, folders or patterns")
    return tuple(found)


def ending(rows: Sequence[Row]) -> int:
    """The exit code of a sweep: 0 unless a run failed by our fault, or none wrote a model."""
    codes = [row.code for row in rows]
    faults = [code for code in codes if code in (1, 5)]
    if faults:
        return faults[0]
    return 0 if 0 in codes else codes[0]


def _meant(text: str) -> list[Path]:
    path = Path(text)
    if path.is_dir():
        return sorted(p for p in path.rglob("*.onnx") if p.is_file())
    if path.is_file() or not has_magic(text):
        return [path] if path.exists() else []
    return [Path(p) for p in sorted(glob(text, recursive=True)) if Path(p).is_file()]


def _cells(
    models: Sequence[Path],
    config: CompressConfig,
    goals: Sequence[Goal],
    criteria: Sequence[str],
    folder: Path,
) -> list[Cell]:
    cells = []
    criteria = tuple(criteria) or (config.criterion,)
    for model, goal, criterion in product(models, tuple(goals) or (config.goal,), criteria):
        own = replace(_with_goal(config, goal), criterion=criterion)
        own = replace(own, data=replace(own.data, path=_data_of(model, own.data.path)))
        cells.append(Cell(str(model), goal_text(own), own, str(folder), key_of(model, own)))
    twice = [name for name, count in Counter(cell.name for cell in cells).items() if count > 1]
    if twice:
        raise UsageError(f"{foreign(twice[0])}: the same run is asked for twice")
    return cells


def _with_goal(config: CompressConfig, goal: Goal) -> CompressConfig:
    if isinstance(goal, Ratio):
        return replace(config, target={}, ratio=goal.share)
    if isinstance(goal, Budget):
        return replace(config, target=goal.shares, ratio=None, allow_slower=goal.allow_slower)
    return replace(config, target={}, ratio=None, max_drop=goal.most)


def _data_of(model: Path, path: str | None) -> str | None:
    if path is None:
        return None
    return path.replace("{stem}", model.stem).replace("{folder}", str(model.parent))


def goal_text(config: CompressConfig) -> str:
    """What is to be reached, as it is asked for on the command line."""
    if config.ratio is not None:
        return f"ratio={config.ratio:g}"
    if config.target:
        return ",".join(f"{name}={share:g}" for name, share in config.target.items())
    return f"max-drop={config.max_drop:g}"
