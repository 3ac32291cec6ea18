"""The README's own command on every file: `compress MODEL --data D --target macs=0.6`.

    python -m benchmarks.main_command.run DIR_OR_FILE ... --out RESULT_DIR [--only GLOB]
        [--limit SECONDS] [--retry] [--readme README.md]

Every third file is also cut by every other criterion.  Each run is a process of its own, forked
from this one so that nothing is imported anew, with a time limit.  What RESULT_DIR/runs.json holds
is not run again, so that an interrupted sweep goes on where it was; --retry runs again what failed.
Exit code 0 is a smaller model, proved and written; 3 and 4 are refusals, whose reasons are in the
table; anything else fails the sweep, which then ends with 1.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # before numpy and ONNX Runtime are there
os.environ["COLUMNS"] = "400"

import onnxruntime  # noqa: F401

from benchmarks.children import child
from benchmarks.hints import HINTS, Hint
from benchmarks.main_command.samples import write_samples
from benchmarks.main_command.table import markdown
from benchmarks.marked import put_into
from onnxslim_snacs.cli.app import run as run_command
from onnxslim_snacs.config import CompressConfig
from onnxslim_snacs.errors import SnacsError
from onnxslim_snacs.scores import CRITERIA

DEFAULT = CompressConfig().criterion
#: `mint` looks at trees of every pair of channels, which takes minutes on a wide layer.
OTHERS = tuple(name for name in CRITERIA if name not in (DEFAULT, "mint"))
#: Every so many files, all criteria are tried.
EVERY = 3
ACCEPTED = (0, 3, 4)


def main() -> None:
    options = parse()
    options.out.mkdir(parents=True, exist_ok=True)
    saved = options.out / "runs.json"
    rows: dict[str, Any] = json.loads(saved.read_text()) if saved.exists() else {}
    for path, criterion in runs(options.paths):
        key = f"{path.stem} {criterion}"
        known = rows.get(key)
        if not fnmatchcase(path.stem, options.only):
            continue
        if known and not (options.retry and known["exit"] not in ACCEPTED):
            continue
        data, failure = samples_of(path, options.out / "data", options.limit)
        row = failure or run(path, data, criterion, options.limit)
        print(f"{key}: {row['exit']} {row.get('message', '')[:160]}", flush=True)
        rows[key] = {"file": path.stem, "criterion": criterion, **row}
        saved.write_text(json.dumps(dict(sorted(rows.items())), indent=1))
    table = markdown(list(rows.values()))
    (options.out / "table.md").write_text(table)
    if options.readme:
        put_into(options.readme, "table", table)
    sys.exit(any(row["exit"] not in ACCEPTED for row in rows.values()))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("paths", nargs="*", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", default="*")
    parser.add_argument("--retry", action="store_true")
    parser.add_argument("--limit", type=float, default=300.0)
    parser.add_argument("--readme", type=Path)
    return parser.parse_args()


def runs(paths: list[Path]) -> Iterator[tuple[Path, str]]:
    """Every file with the default criterion first, then every third with the others."""
    files = [f for p in paths for f in (sorted(p.rglob("*.onnx")) if p.is_dir() else [p])]
    files = [f for f in files if "hostile" not in f.parts]
    yield from ((path, DEFAULT) for path in files)
    yield from ((path, other) for path in files[::EVERY] for other in OTHERS)


def samples_of(path: Path, folder: Path, limit: float) -> tuple[Path, dict[str, Any] | None]:
    """The samples that lie beside a file, or sixteen that are made; or why there are none."""
    hint = HINTS.get(path.stem, Hint())
    beside = path.parent / (hint.data or f"{path.stem}.npz")
    if beside.exists():
        return beside, None
    made = folder.resolve() / f"{path.stem}.npz"
    if made.exists():
        return made, None
    folder.mkdir(exist_ok=True)

    def make() -> int:
        try:
            write_samples(path, made, hint.shapes, hint.sample_axes)
        except SnacsError as error:
            print(error, file=sys.stderr)
            return error.exit_code
        return 0

    row = child(make, limit)
    return made, None if made.exists() else {**row, "stage": "samples"}


def run(path: Path, data: Path, criterion: str, limit: float) -> dict[str, Any]:
    """One run of the main command."""
    hint = HINTS.get(path.stem, Hint())
    with tempfile.TemporaryDirectory() as folder:
        out, report = Path(folder) / "out.onnx", Path(folder) / "report.json"
        command = ["compress", str(path)]
        command += ["--data", str(data), "--samples", "16", "--target", "macs=0.6"]
        command += ["--criterion", criterion, "-o", str(out), "--report", str(report)]
        for name, shape in hint.shapes.items():
            command += ["--input-shape", f"{name}={','.join(map(str, shape))}"]
        for name, axis in hint.sample_axes.items():
            command += ["--sample-axis", f"{name}={axis}"]
        row = child(lambda: run_command(command), limit)
        if row["exit"] == 0:
            row.update(figures(json.loads(report.read_text())))
    return row


def figures(report: dict[str, Any]) -> dict[str, Any]:
    """What the table shows of a report."""
    before, after = report["before"], report["after"]
    drift = report.get("drift") or {}
    return {
        "macs_kept": after["macs"] / max(1, before["macs"]),
        "params_kept": after["params"] / max(1, before["params"]),
        "error": drift.get("rel_error"),
        "message": "",
    }


if __name__ == "__main__":
    main()
