"""Cut half of the channels of every file and compare with other tools.

    python -m benchmarks.coverage.run DIR_OR_FILE ... --out RESULT_DIR [--only GLOB]
        [--peer-python PYTHON --peer-cache PEERS.json] [--limit SECONDS] [--update]
        [--readme README.md]
    python -m benchmarks.coverage.run --table-only --out RESULT_DIR [--readme README.md]

Writes RESULT_DIR/coverage.json and RESULT_DIR/coverage.md.  With --update, files that an earlier
run has covered and that --only leaves out keep their rows.  With --table-only nothing is run: the
table is written anew from what RESULT_DIR/coverage.json holds.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.coverage.table import markdown
from benchmarks.marked import put_into

HERE = Path(__file__).parent
TOOLS = ("onnxsim", "torch_pruning")
#: Sizes for inputs whose dynamic dimensions cannot be guessed.
SHAPES: dict[str, dict[str, list[int]]] = {
    # drawn integers are 0 or 1, no sampling rate of 16 kHz, so that the branch for 8 kHz is taken
    "audio_silero_vad": {"input": [1, 256], "state": [2, 1, 128]},
    "text_nnsplit_en_lstm": {"input": [1, 100]},
    "audio_basic_pitch_nmp": {"serving_default_input_2:0": [1, 43844, 1]},
    "ocr_ch_ppocr_mobile_v20_cls_infer": {"x": [1, 3, 48, 192]},
    "ocr_ch_PP-OCRv3_det_infer": {"x": [1, 3, 320, 320]},
}


def main() -> None:
    options = parse()
    out = options.out
    out.mkdir(parents=True, exist_ok=True)
    saved = out / "coverage.json"
    kept = options.table_only or (options.update and saved.exists())
    rows = json.loads(saved.read_text()) if kept else {}
    cache = Peers(options.peer_python, options.peer_cache, options.limit)
    for path in files(options.paths):
        name = path.stem
        if not fnmatchcase(name, options.only):
            continue
        row = child([sys.executable, "-m", "benchmarks.coverage.worker"], path, options.limit)
        row.update(cache.results(path))
        rows[name] = row
        kept = row.get("params_kept")
        print(f"{name}: {row['status']} {kept if kept is None else round(kept, 3)}", flush=True)
        rows = dict(sorted(rows.items()))
        saved.write_text(json.dumps(rows, indent=1))
        (out / "coverage.md").write_text(markdown(rows))
    if options.table_only:
        (out / "coverage.md").write_text(markdown(rows))
    if options.readme:
        put_into(options.readme, "table", markdown(rows))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("paths", nargs="*", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", default="*")
    parser.add_argument("--readme", type=Path)
    parser.add_argument("--update", action="store_true")
    parser.add_argument("--table-only", action="store_true")
    parser.add_argument("--limit", type=float, default=600.0)
    parser.add_argument("--peer-python")
    parser.add_argument("--peer-cache", type=Path)
    options = parser.parse_args()
    if bool(options.paths) == options.table_only:
        parser.error("name files to cut, or give --table-only and none")
    return options


def files(paths: list[Path]) -> Iterator[Path]:
    """Every .onnx file named, or in a folder that is named."""
    for path in paths:
        yield from sorted(path.glob("*.onnx")) if path.is_dir() else [path]


def child(command: list[str], path: Path, limit: float) -> dict[str, Any]:
    """Run a process on one file and read what it wrote; what kills it becomes its row."""
    hints = json.dumps(SHAPES.get(path.stem, {}))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "row.json"
        start = perf_counter()
        try:
            done = subprocess.run(
                [*command, str(path), str(answer), hints],
                timeout=limit,
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return {"status": "error", "error": f"no result within {limit:g} s"}
        if answer.exists():
            row: dict[str, Any] = json.loads(answer.read_text())
            row["wall_s"] = round(perf_counter() - start, 2)
            return row
        return {"status": "error", "error": f"ended with {done.returncode}: {done.stderr[-300:]}"}


class Peers:
    """Results of other tools, kept in a file because they do not change."""

    def __init__(self, python: str | None, cache: Path | None, limit: float) -> None:
        self.python, self.cache, self.limit = python, cache, limit
        self.known = json.loads(cache.read_text()) if cache and cache.exists() else {}

    def results(self, path: Path) -> dict[str, Any]:
        """What each tool makes of a file."""
        found = self.known.setdefault(path.stem, {})
        for tool in TOOLS if self.python else ():
            if tool not in found:
                command = [str(self.python), str(HERE / "peer.py"), tool]
                found[tool] = child(command, path, self.limit)
                if self.cache:
                    self.cache.write_text(json.dumps(self.known, indent=1))
        return dict(found)


if __name__ == "__main__":
    main()
